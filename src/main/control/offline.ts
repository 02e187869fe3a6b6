/**
 * What an operator does with the control state of a node that does not run: a new cluster from a
 * backup, a new cluster from the log of one survivor, or nothing but a new beginning as a member that
 * joins. All of it is said before it is done, and the old log is kept.
 *
 * O1: a folder that has a log is never restored into.
 * O2: a new cluster has a new name: who belongs to the old one is refused by it, and refuses it.
 * O3: nothing is written while a node runs on the folder, nor by a dry run.
 */

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';

import type { DiskLock } from '../../base/disk.ts';
import { RAFT_LIMITS } from '../../base/limits.ts';
import { nodeOfPeer, regionOfPeer } from '../../base/peerName.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { NodeDisk } from '../../io/disk/nodeDisk.ts';
import { RaftLog } from '../../raft/log.ts';
import { memberOf, nameOf } from '../../raft/membership.ts';
import { ENTRY_KINDS, type Member, type Stored } from '../../raft/types.ts';
import type { Backup } from '../../replica/control/backup.ts';
import { rebornFromBackup, rebornFromLog } from '../../replica/control/reborn.ts';
import { storedOf } from '../../replica/group/stored.ts';
import { readLog, type ReadLog } from '../../storage/open.ts';
import { LOG_FOLDER, SEGMENT_BYTES, sentenceOf } from './controlLog.ts';
import {
  drawIncarnation,
  NAME,
  NOTE_NAME,
  readMemberFile,
  writeMemberFile,
  type ControlMember,
} from './memberFile.ts';
import { finishInstall, installLog } from './newLog.ts';
import { asOwner } from './owner.ts';

/** Names in a control folder that say that there is, or is about to be, a log. */
const TAKEN: ReadonlySet<string> = new Set([LOG_FOLDER, NAME, NOTE_NAME]);

/** Who does it, and why: for the audit log. */
export interface Doer {
  readonly who: string;
  readonly from: string;
  readonly why: string;
  readonly wallMs: number;
}

/** What was done, or what a dry run says. */
export interface Restored {
  readonly cluster: string;
  readonly revision: number;
  readonly keys: number;
}

/** Makes `control` inside a data folder the only member of a new cluster. The error is for people. */
export async function restoreInto(
  folder: string,
  backup: Backup,
  place: { readonly name: string; readonly priority: number; readonly clusterPrefix: string },
  { who, from, why, wallMs }: Doer,
  isDry: boolean,
): Promise<Result<Restored, string>> {
  const begun = isDry ? ok(false) : await asOwner(folder, () => finishInstall(folder));
  if (!begun.ok) return begun;
  if (begun.value) return err(`${folder}: what was broken off is done now; start the node`);
  const taken = await namesIn(folder);
  if (taken.length > 0) {
    return err(
      `${folder} holds ${taken.join(', ')}: this node has a control state; move it away first`,
    );
  }
  const { about, items } = backup;
  const cluster = newCluster(place.clusterPrefix);
  const node = nodeOfPeer(place.name);
  const member: Member = {
    id: 1,
    region: regionOfPeer(place.name),
    ...(node === null ? {} : { node }),
    incarnation: drawIncarnation(),
    priority: place.priority,
    isWitness: false,
    isPromotable: false,
  };
  const made = rebornFromBackup(backup, member, {
    cluster,
    audit: { who, from, what: `restored from a backup of ${about.cluster}`, why },
    origin: { kind: 'backup', cluster: about.cluster, revision: about.revision, atMs: wallMs },
  });
  if (!made.ok) return made;
  const told = { cluster, revision: made.value.revision, keys: items.length };
  if (isDry) return ok(told);
  const done = await asOwner(folder, () =>
    installLog(folder, made.value, member, wallMs, () => Promise.resolve()),
  );
  return done.ok ? ok(told) : done;
}

/** What one member's log holds, and what would become of it. */
export interface Survey {
  /** Names of nodes: the region, or `REGION/NODE` of a further one. */
  readonly region: string;
  readonly id: number;
  readonly cluster: string;
  readonly voters: readonly { readonly id: number; readonly region: string }[];
  readonly term: number;
  readonly lastIndex: number;
  /** Of those the node knows that a quorum had them. */
  readonly commit: number;
  /** The last write to the log, Unix ms. */
  readonly writtenMs: number;
  readonly newCluster: string;
  readonly revision: number;
}

export interface Recovered extends Survey {
  /** Where the old log is kept; null in a dry run. */
  readonly aside: string | null;
}

/** Makes the member of `folder` the only one of a new cluster. */
export async function recoverFrom(
  folder: string,
  { who, from, why, wallMs }: Doer,
  isDry: boolean,
): Promise<Result<Recovered, string>> {
  const begun = isDry ? ok(false) : await asOwner(folder, () => finishInstall(folder));
  if (!begun.ok) return begun;
  if (begun.value) return err(`${folder}: what was broken off is done now; start the node`);
  const member = await memberIn(folder);
  if (!member.ok) return member;
  const read = await readOwnLog(folder, member.value);
  if (!read.ok) return read;
  const { lock, recovered } = read.value;
  let isHeld = true;
  const release = async (): Promise<void> => {
    if (isHeld) await new Promise<void>((resolve) => lock.close(() => resolve()));
    isHeld = false;
  };
  try {
    const stored = storedOf(recovered, 0);
    if (!stored.ok) return err(sentenceOf(stored.error));
    const survey = await surveyOf(folder, member.value, stored.value);
    if (!survey.ok) return survey;
    const { cluster, newCluster: name, commit, lastIndex, region } = survey.value;
    const made = rebornFromLog(stored.value, member.value.id, {
      cluster: name,
      audit: { who, from, what: `recovered by force from ${cluster} in ${region}`, why },
      origin: { kind: 'recover', cluster, region, commit, lastIndex, atMs: wallMs },
    });
    if (!made.ok) return made;
    const told = { ...survey.value, revision: made.value.revision };
    if (isDry) return ok({ ...told, aside: null });
    const aside = await asOwner(folder, () =>
      installLog(folder, made.value, member.value, wallMs, release),
    );
    return aside.ok ? ok({ ...told, aside: aside.value }) : aside;
  } finally {
    await release();
  }
}

/** Puts the log aside: the node joins what the others have, under a new number. */
export async function rejoin(
  folder: string,
  wallMs: number,
  isDry: boolean,
): Promise<Result<{ readonly cluster: string; readonly aside: string }, string>> {
  const member = await memberIn(folder);
  if (!member.ok) return member;
  const aside = `aside-${wallMs}`;
  const read = await readOwnLog(folder, member.value);
  const lock = read.ok ? read.value.lock : await lockOf(folder);
  if (lock === null && !read.ok) return read;
  try {
    const told = { cluster: member.value.cluster, aside: join(folder, aside) };
    if (isDry) return ok(told);
    // A crash between the two leaves a member without a log, which does the same by itself.
    await rename(join(folder, LOG_FOLDER), join(folder, aside));
    // Whoever had a log founds nothing (F4).
    const incarnation = drawIncarnation();
    await asOwner(folder, () =>
      writeMemberFile(folder, { state: 'new', incarnation, mayFound: false }),
    );
    return ok(told);
  } finally {
    // Held until then: a node that starts meanwhile would write into the log that goes.
    if (lock !== null) await new Promise<void>((resolve) => lock.close(() => resolve()));
  }
}

/** Of a log that cannot be read; null: a node runs on it, or it is not there. */
async function lockOf(folder: string): Promise<DiskLock | null> {
  const disk = new NodeDisk(folder);
  return new Promise((resolve) => {
    disk.lockFolder(LOG_FOLDER, (locked) => resolve(locked.ok ? locked.value : null));
  });
}

async function memberIn(folder: string): Promise<Result<ControlMember, string>> {
  const read = await readMemberFile(folder);
  if (!read.ok) return read;
  if (read.value === null) return err(`${folder}: there is no control state`);
  if (read.value.state === 'member') return ok(read.value);
  return err(`${folder}: this node was in no group yet`);
}

/** Reads the log of a member that does not run; the lock is for the caller to give back. */
export function readOwnLog(
  folder: string,
  { cluster, id, incarnation }: ControlMember,
): Promise<Result<ReadLog, string>> {
  const mode = { kind: 'open', incarnation } as const;
  const options = { folder: LOG_FOLDER, cluster, node: id, mode, kinds: ENTRY_KINDS };
  return new Promise((resolve) => {
    readLog(new NodeDisk(folder), { ...options, segmentBytes: SEGMENT_BYTES }, (read) => {
      if (read.ok) resolve(read);
      else if (read.error.kind === 'locked') {
        resolve(err(`${folder}: a node runs on it; stop it first`));
      } else resolve(err(sentenceOf(read.error)));
    });
  });
}

async function surveyOf(
  folder: string,
  { id, cluster }: ControlMember,
  stored: Stored,
): Promise<Result<Omit<Survey, 'revision'>, string>> {
  const log = new RaftLog(stored);
  const { conf } = log.conf;
  const own = memberOf(conf, id);
  if (own === null)
    return err(`${folder}: its log does not say that it is a member; it cannot go on`);
  const voters = conf.voters.map((voter) => ({
    id: voter,
    region: peerOf(memberOf(conf, voter)),
  }));
  return ok({
    region: nameOf(own),
    id,
    cluster,
    voters,
    term: log.lastTerm,
    lastIndex: log.lastIndex,
    commit: Math.max(stored.hardState.commit, stored.snapshot?.meta.index ?? 0),
    writtenMs: await writtenMs(join(folder, LOG_FOLDER)),
    newCluster: newCluster(cluster),
  });
}

function peerOf(member: Member | null): string {
  return member === null ? '' : nameOf(member);
}

async function writtenMs(folder: string): Promise<number> {
  let newest = 0;
  for (const name of await readdir(folder)) {
    if (!name.endsWith('.log') && !name.endsWith('.snapshot')) continue;
    newest = Math.max(newest, (await stat(join(folder, name))).mtimeMs);
  }
  return Math.round(newest);
}

async function namesIn(folder: string): Promise<readonly string[]> {
  if (!existsSync(folder)) return [];
  const names = await readdir(folder);
  return names.filter((name) => TAKEN.has(name)).toSorted();
}

/** The name that people gave, and a random part of its own (O2). */
function newCluster(name: string): string {
  const suffix = randomBytes(4).toString('hex');
  const given = name.replace(/-[0-9a-f]{8}$/, '');
  return `${given.slice(0, RAFT_LIMITS.clusterCharsMax - suffix.length - 1)}-${suffix}`;
}
