/** Small JSON files that must not be half written. */

import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Durable when it resolves, whole or not at all. */
export async function writeDurably(file: string, value: object | null): Promise<void> {
  const handle = await open(`${file}.tmp`, 'w', 0o600);
  try {
    await handle.writeFile(`${JSON.stringify(value)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.tmp`, file);
  const names = await open(dirname(file), 'r');
  try {
    await names.sync();
  } finally {
    await names.close();
  }
}
