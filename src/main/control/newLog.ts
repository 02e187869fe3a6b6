/**
 * Puts the log of a new cluster in the place of an old one, or where there is none, while no node
 * runs on it. The new log is made whole beside the old one; then a note says that it counts; then
 * they change places, and the old one is kept. A crash leaves either the old log, or the note, with
 * which a node does not start and the next call ends what was begun.
 */

import { access, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

import type { z } from 'zod';

import { makeFolderDurably, syncFolder, writeDurably } from '../durableFile.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { NodeDisk } from '../../io/disk/nodeDisk.ts';
import { ENTRY_KINDS } from '../../raft/types.ts';
import type { Reborn } from '../../replica/control/reborn.ts';
import { logPersistOf } from '../../replica/group/stored.ts';
import { openLog } from '../../storage/open.ts';
import { LOG_FOLDER, SEGMENT_BYTES, sentenceOf } from './controlLog.ts';
import { NOTE_NAME, noteSchema, writeMemberFile, type ControlMember } from './memberFile.ts';

const NEW_FOLDER = 'reborn';

/**
 * Gives where the old log is kept; null: there was none. `release` gives the old log's folder back,
 * once no node can start on it any more.
 */
export async function installLog(
  folder: string,
  { hardState, snapshot }: Reborn,
  { id, incarnation, places }: Pick<ControlMember, 'id' | 'incarnation' | 'places'>,
  wallMs: number,
  release: () => Promise<void>,
): Promise<Result<string | null, string>> {
  const { cluster } = snapshot.meta;
  await makeFolderDurably(folder);
  await rm(join(folder, NEW_FOLDER), { recursive: true, force: true });
  const written = await writeLog(folder, { cluster, id, incarnation }, { hardState, snapshot });
  if (!written.ok) return written;
  const member: ControlMember = {
    state: 'member',
    id,
    incarnation,
    cluster,
    founding: null,
    peers: [],
    // The members of before come back to where they were.
    ...(places === undefined ? {} : { places }),
  };
  const hasOld = await exists(join(folder, LOG_FOLDER));
  const aside = hasOld ? `aside-${wallMs}` : null;
  await writeDurably(join(folder, NOTE_NAME), { member, aside });
  await release();
  const finished = await finishInstall(folder);
  if (!finished.ok) return finished;
  return ok(aside === null ? null : join(folder, aside));
}

/** Ends what a note says was begun; false: nothing was. The error is for people. */
export async function finishInstall(folder: string): Promise<Result<boolean, string>> {
  const text = await readFile(join(folder, NOTE_NAME), 'utf8').catch(() => null);
  if (text === null) return ok(false);
  const note = parseNote(text);
  if (note === null) {
    return err(
      `${join(folder, NOTE_NAME)} is damaged: it says what becomes of ${NEW_FOLDER} and ${LOG_FOLDER}`,
    );
  }
  const { member, aside } = note;
  if (await exists(join(folder, NEW_FOLDER))) {
    if (aside !== null && (await exists(join(folder, LOG_FOLDER)))) {
      await rename(join(folder, LOG_FOLDER), join(folder, aside));
    }
    await rename(join(folder, NEW_FOLDER), join(folder, LOG_FOLDER));
    await syncFolder(folder);
  }
  await writeMemberFile(folder, member);
  await rm(join(folder, NOTE_NAME));
  await syncFolder(folder);
  return ok(true);
}

/** Null: it is none. */
function parseNote(text: string): z.output<typeof noteSchema> | null {
  try {
    return noteSchema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null; // Not JSON.
  }
}

function writeLog(
  folder: string,
  { cluster, id, incarnation }: { cluster: string; id: number; incarnation: number },
  { hardState, snapshot }: Pick<Reborn, 'hardState' | 'snapshot'>,
): Promise<Result<null, string>> {
  const disk = new NodeDisk(folder);
  const mode = { kind: 'create', incarnation } as const;
  return new Promise((resolve) => {
    let close: (told: Result<null, string>) => void = resolve;
    const events = {
      persisted: () => close(ok(null)),
      disk: (state: string, detail: string) => {
        if (state === 'failed') close(err(`the log could not be written: ${detail}`));
      },
    };
    openLog(
      disk,
      {
        folder: NEW_FOLDER,
        cluster,
        node: id,
        mode,
        kinds: ENTRY_KINDS,
        segmentBytes: SEGMENT_BYTES,
      },
      events,
      (opened) => {
        if (!opened.ok) return resolve(err(sentenceOf(opened.error)));
        const { log } = opened.value;
        close = (told) => log.close(() => resolve(told));
        const first = { seq: 1, hardState, snapshot, entries: [], compactTo: 0 };
        log.persist(logPersistOf({ ...first, isLogDiscarded: true }, 0));
      },
    );
  });
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
