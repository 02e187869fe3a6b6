/** What root writes into the folder of another user is that user's: the node runs as that one. */

import { lchown, readdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

/** Runs it; then all of `folder`, and what was made above it, belongs to who had the folder before. */
export async function asOwner<T>(folder: string, run: () => Promise<T>): Promise<T> {
  if (process.getuid?.() !== 0) return run();
  let top = resolve(folder);
  let owner = await ownerOf(top);
  while (owner === null && dirname(top) !== top) {
    top = dirname(top);
    owner = await ownerOf(top);
  }
  try {
    return await run();
  } finally {
    if (owner !== null && owner.uid !== 0) {
      for (let at = resolve(folder); at !== top; at = dirname(at)) await give(at, owner);
      for (const name of await readdir(folder, { recursive: true }).catch(() => [])) {
        await give(join(folder, name), owner);
      }
    }
  }
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Null: it is not there. */
function ownerOf(path: string): Promise<Owner | null> {
  return stat(path).then(
    ({ uid, gid }) => ({ uid, gid }),
    () => null,
  );
}

/** What went meanwhile needs no owner. */
async function give(path: string, { uid, gid }: Owner): Promise<void> {
  await lchown(path, uid, gid).catch((cause: unknown) => {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ENOENT')) throw cause;
  });
}
