/** Server-sent events of one stream, for the command line: gives the data of each event. */

import { SSE_LIMITS } from '../../base/limits.ts';

/** Returns a reader of text pieces; `onData` gets each event's data. Throws past the limit. */
export function createSseReader(onData: (data: string) => void): (piece: string) => void {
  let rest = '';
  return (piece) => {
    rest += piece;
    if (rest.length > SSE_LIMITS.eventBytesMax) throw new Error('an event is too large');
    const events = rest.split(/\r?\n\r?\n/);
    rest = events.pop() ?? '';
    for (const event of events) {
      const data = event
        .split(/\r?\n/)
        .filter((line) => line.startsWith('data:'))
        .map((line) => line.slice(5).replace(/^ /, ''));
      if (data.length > 0) onData(data.join('\n'));
    }
  };
}
