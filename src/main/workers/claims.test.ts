import { deepEqual } from 'node:assert/strict';
import { test } from 'node:test';

import type { ClaimAsk, ClaimClerk } from '../registers/claimClerk.ts';
import { ClaimCounter } from './claims.ts';
import type { ToWorker } from './messages.ts';

type Done = Parameters<ClaimClerk['claim']>[1];

/** The side of the first process for one worker, over a clerk that answers when it is told to. */
class Trial {
  readonly sent: string[] = [];
  /** How the claims that were won ended, in order. */
  readonly over: string[] = [];
  readonly counter: ClaimCounter;
  readonly #asked: { readonly ask: ClaimAsk; readonly done: Done }[] = [];

  constructor() {
    const clerk = {
      claim: (ask: ClaimAsk, done: Done) => void this.#asked.push({ ask, done }),
    };
    this.counter = new ClaimCounter(clerk, (message: ToWorker) => {
      if (message.kind === 'claimed') this.sent.push(`${message.id} ${message.word.kind}`);
    });
  }

  claim(id: number, key: string): void {
    this.counter.came({ kind: 'claim', id, ask: { key, owner: 'o', about: '' } });
  }

  /** The clerk answers what it was asked first. */
  won(): void {
    const { ask, done } = this.#asked.shift() ?? {};
    done?.({ kind: 'yours' }, (result) => this.over.push(`${ask?.key} ${String(result)}`));
  }
}

test('what a worker claimed is over once, as it says', () => {
  const trial = new Trial();
  trial.claim(0, 'a');
  trial.won();
  trial.counter.came({ kind: 'claim-over', id: 0, result: 'answered 200' });
  trial.counter.came({ kind: 'claim-over', id: 0, result: null });
  trial.counter.close();
  deepEqual(trial.sent, ['0 yours']);
  deepEqual(trial.over, ['a answered 200']);
});

test('a claim whose worker is gone stays: what it did may have run', () => {
  const trial = new Trial();
  trial.claim(0, 'a');
  trial.won();
  trial.counter.close();
  deepEqual(trial.over, ['a its process ended']);
});

test('an answer to a worker that is gone is given back, and the next one does not hear it', () => {
  const trial = new Trial();
  trial.claim(0, 'of the old worker');
  trial.counter.close();
  trial.claim(0, 'of the next one');
  trial.won();
  deepEqual(trial.sent, [], 'the same number, another request');
  deepEqual(trial.over, ['of the old worker null']);
  trial.won();
  deepEqual(trial.sent, ['0 yours']);
});
