/**
 * The names of a simulated disk: what a living system sees, what is durable, and the changes in
 * between. A loss of power keeps either a first part of the changes or any subset of them: file
 * systems do the former, what the standard allows is the latter. A rename is always whole.
 */

import type { Prng } from '../base/prng.ts';
import type { Inode } from './diskInode.ts';

type NameChange =
  | { readonly kind: 'create'; readonly path: string; readonly inode: Inode }
  | { readonly kind: 'rename'; readonly path: string; readonly to: string; readonly inode: Inode }
  | { readonly kind: 'remove'; readonly path: string };

/** The folder of a path; '' is the root. */
export function folderOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash === -1 ? '' : path.slice(0, slash);
}

export class NameTable {
  private names = new Map<string, Inode>();
  private durable = new Map<string, Inode>();
  private pending: NameChange[] = [];
  private readonly folders = new Set<string>(['']);

  get(path: string): Inode | undefined {
    return this.names.get(path);
  }

  hasFolder(folder: string): boolean {
    return this.folders.has(folder);
  }

  /** Folders are durable at once: they are made before anything depends on them. */
  makeFolder(path: string): void {
    const parts = path.split('/');
    for (let count = 1; count <= parts.length; count += 1) {
      this.folders.add(parts.slice(0, count).join('/'));
    }
  }

  create(path: string, inode: Inode): void {
    this.change({ kind: 'create', path, inode });
  }

  rename(path: string, to: string, inode: Inode): void {
    this.change({ kind: 'rename', path, to, inode });
  }

  remove(path: string): void {
    this.change({ kind: 'remove', path });
  }

  /** Names in `folder`, files and folders, sorted. */
  list(folder: string): readonly string[] {
    const prefix = folder === '' ? '' : `${folder}/`;
    const found = [...this.names.keys(), ...this.folders]
      .filter((path) => path !== '' && folderOf(path) === folder)
      .map((path) => path.slice(prefix.length));
    return found.toSorted((a, b) => (a < b ? -1 : 1));
  }

  paths(): readonly string[] {
    return [...this.names.keys()].toSorted((a, b) => (a < b ? -1 : 1));
  }

  /** Makes the names of `folder` durable. */
  sync(folder: string): void {
    for (const change of this.pending) {
      if (folderOf(change.path) === folder) applyChange(this.durable, change);
    }
    this.pending = this.pending.filter((change) => folderOf(change.path) !== folder);
  }

  losePower(prng: Prng, kept: number): void {
    const isPrefix = prng.nextFloat() < 0.5;
    for (const change of this.pending) {
      if (prng.nextFloat() < kept) applyChange(this.durable, change);
      else if (isPrefix) break;
    }
    this.pending = [];
    this.names = new Map(this.durable);
  }

  /** Every file that has a name, durable or not. */
  inodes(): ReadonlySet<Inode> {
    return new Set([...this.names.values(), ...this.durable.values()]);
  }

  /** Replaces everything by `files`, durable: a disk as a backup has it. */
  replace(files: ReadonlyMap<string, Inode>): void {
    this.names = new Map(files);
    this.durable = new Map(files);
    this.pending = [];
  }

  durableFiles(): ReadonlyMap<string, Inode> {
    return this.durable;
  }

  private change(change: NameChange): void {
    applyChange(this.names, change);
    this.pending.push(change);
  }
}

function applyChange(names: Map<string, Inode>, change: NameChange): void {
  switch (change.kind) {
    case 'create':
      names.set(change.path, change.inode);
      return;
    case 'rename':
      // The entry goes by its file: where the creation was lost, the new name still gets it.
      if (names.get(change.path) === change.inode) names.delete(change.path);
      names.set(change.to, change.inode);
      return;
    case 'remove':
      names.delete(change.path);
      return;
  }
}
