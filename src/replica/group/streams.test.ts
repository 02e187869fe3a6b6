import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { GROUP_LIMITS } from '../../base/groupLimits.ts';
import { regionOfPeer } from '../../base/peerName.ts';
import type {
  ClientEvents,
  ClientReply,
  ClientRequest,
  UpstreamCall,
  UpstreamHandler,
} from '../../base/ports.ts';
import { VirtualTime } from '../../base/virtualTime.ts';
import { frameMessages, MessageAssembler } from './messageFrames.ts';
import { GroupStreams } from './streams.ts';

interface Asked {
  readonly call: UpstreamCall;
  readonly handler: UpstreamHandler;
  isCancelled: boolean;
}

/** An answer as its member sees it. */
class Reply implements ClientReply {
  readonly chunks: Uint8Array[] = [];
  hasRoom = true;
  hasEnded = false;
  head(): void {}
  write(chunk: Uint8Array): boolean {
    this.chunks.push(chunk);
    return this.hasRoom;
  }
  end(): void {
    this.hasEnded = true;
  }
  abort(): void {}
}

function world() {
  const time = new VirtualTime();
  const asked: Asked[] = [];
  const received: string[] = [];
  const upstream = {
    start(call: UpstreamCall, handler: UpstreamHandler) {
      const one = { call, handler, isCancelled: false };
      asked.push(one);
      const cancel = (): void => {
        one.isCancelled = true;
      };
      return { cancel, pause: () => {}, resume: () => {} };
    },
  };
  const peers = [
    { id: 2, name: 'r2' },
    { id: 3, name: 'r2/b' },
  ];
  const streams = new GroupStreams(upstream, time, peers, (from, bytes) => {
    received.push(`${from}:${bytes.join(' ')}`);
  });
  return { time, asked, received, streams };
}

function requestOf(peer: string | null): ClientRequest {
  return {
    method: 'GET',
    path: '/group/messages',
    query: '',
    headers: [],
    body: new Uint8Array(0),
    keyHash: null,
    receivedMs: 0,
    remote: '',
    forwardedFrom: peer === null ? null : regionOfPeer(peer),
    ...(peer === null ? {} : { peer }),
  };
}

function opened(streams: GroupStreams, region: string, reply: Reply): ClientEvents {
  const events = streams.handle(requestOf(region), reply);
  ok(events !== null);
  return events;
}

/** Lets what is due behind this turn happen. */
async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

test('messages cut at any byte come out as they went in', () => {
  const messages = [Uint8Array.of(1), Uint8Array.of(2, 3, 4), new Uint8Array(300).fill(9)];
  const bytes = frameMessages(messages);
  for (const size of [1, 2, 3, 5, 7, 100, bytes.length]) {
    const out: Uint8Array[] = [];
    const assembler = new MessageAssembler((message) => out.push(message));
    for (let at = 0; at < bytes.length; at += size) {
      ok(assembler.take(bytes.slice(at, at + size)));
    }
    deepEqual(out, messages);
  }
});

test('a message given on does not change with the piece that it came in', () => {
  const out: Uint8Array[] = [];
  const assembler = new MessageAssembler((message) => out.push(message));
  const piece = frameMessages([Uint8Array.of(7, 8)]);
  assembler.take(piece);
  piece.fill(0);
  deepEqual(out, [Uint8Array.of(7, 8)]);
});

test('all messages of a turn leave as one piece', async () => {
  const { streams } = world();
  const reply = new Reply();
  opened(streams, 'r2', reply);
  streams.send(2, Uint8Array.of(1));
  streams.send(2, Uint8Array.of(2));
  equal(reply.chunks.length, 0);
  await turn();
  deepEqual(reply.chunks, [frameMessages([Uint8Array.of(1), Uint8Array.of(2)])]);
});

test('what a member sends is given on under the number of its node, not of its region', () => {
  const { streams, asked, received } = world();
  streams.linkUp('r2/b');
  equal(asked[0]?.call.origin, 'node:r2/b');
  asked[0]?.handler.onHead(200, []);
  asked[0]?.handler.onBody(frameMessages([Uint8Array.of(5)]));
  deepEqual(received, ['3:5']);
});

test('nodes that are no members, and unknown ones, get nothing', () => {
  const { streams } = world();
  equal(streams.handle(requestOf('r2/c'), new Reply()), null);
  equal(streams.handle(requestOf('r9'), new Reply()), null);
  equal(streams.handle(requestOf(null), new Reply()), null);
});

test('a message too long breaks its stream off, is counted, and is not given on', () => {
  const { streams, asked, received, time } = world();
  streams.linkUp('r2');
  const head = new Uint8Array(4);
  new DataView(head.buffer).setUint32(0, GROUP_LIMITS.messageBytesMax + 1, true);
  asked[0]?.handler.onBody(head);
  ok(asked[0]?.isCancelled);
  asked[0]?.handler.onBody(frameMessages([Uint8Array.of(1)]));
  deepEqual(received, []);
  equal(streams.counts().malformed, 1);
  time.advance(GROUP_LIMITS.reopenMs);
  equal(asked.length, 2);
});

test('a stream that fails, ends or is refused is asked for again, one at a time', () => {
  const { streams, asked, time } = world();
  streams.linkUp('r2');
  streams.linkUp('r2');
  equal(asked.length, 1);
  asked[0]?.handler.onFailure({ kind: 'link-down', bytesSent: 0, detail: '' });
  streams.linkUp('r2');
  time.advance(GROUP_LIMITS.reopenMs);
  asked[1]?.handler.onHead(404, []);
  asked[1]?.handler.onEnd();
  time.advance(GROUP_LIMITS.reopenMs);
  asked[2]?.handler.onEnd();
  time.advance(GROUP_LIMITS.reopenMs);
  equal(asked.length, 4);
});

test('a slow member holds little: past the limit messages are dropped and counted', async () => {
  const { streams } = world();
  const reply = new Reply();
  reply.hasRoom = false;
  const events = opened(streams, 'r2', reply);
  const message = new Uint8Array(1_048_576);
  streams.send(2, message);
  await turn();
  const fitting = GROUP_LIMITS.outletBytesMax / message.length;
  for (let count = 0; count < fitting + 3; count += 1) streams.send(2, message);
  await turn();
  equal(reply.chunks.length, 1);
  equal(streams.counts().dropped, 3);
  reply.hasRoom = true;
  events.onDrain();
  equal(reply.chunks.length, 2);
});

test('a member that asks anew is answered there, and what waited for the old is gone', async () => {
  const { streams } = world();
  const [old, next] = [new Reply(), new Reply()];
  const events = opened(streams, 'r2', old);
  old.hasRoom = false;
  streams.send(2, Uint8Array.of(1));
  await turn();
  streams.send(2, Uint8Array.of(2));
  opened(streams, 'r2', next);
  ok(old.hasEnded);
  events.onGone(); // Of the old one: the new one stays.
  streams.send(2, Uint8Array.of(3));
  await turn();
  deepEqual(next.chunks, [frameMessages([Uint8Array.of(3)])]);
});

test('nothing is sent before a member asks, nor after it left', async () => {
  const { streams } = world();
  streams.send(2, Uint8Array.of(1));
  const reply = new Reply();
  const events = opened(streams, 'r2', reply);
  events.onGone();
  streams.send(2, Uint8Array.of(2));
  await turn();
  deepEqual(reply.chunks, []);
  equal(streams.counts().dropped, 2);
});
