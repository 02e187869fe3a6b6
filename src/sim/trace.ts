/** A hash over everything that happens in a run: two runs of one seed must give the same. */

export class Trace {
  private hash = 0x811c9dc5;
  /** Numbers mixed in. */
  count = 0;

  add(value: number): void {
    this.count += 1;
    let mixed = Math.imul(this.hash ^ (value | 0), 0x01000193);
    mixed ^= Math.imul((value * 1_048_576) | 0, 0x9e3779b1);
    this.hash = (mixed << 13) | (mixed >>> 19);
  }

  addBytes(bytes: Uint8Array): void {
    for (const byte of bytes) this.hash = Math.imul(this.hash ^ byte, 0x01000193);
    this.add(bytes.length);
  }

  get value(): number {
    return this.hash >>> 0;
  }
}
