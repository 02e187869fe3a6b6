/** What happens in a run, in words: one line an event, with the time of the simulated world. */

export class Story {
  /** False: nothing is written down, and no text is made. */
  readonly isOn: boolean;
  readonly lines: string[] = [];
  private readonly nowMs: () => number;

  constructor(isOn: boolean, nowMs: () => number) {
    this.isOn = isOn;
    this.nowMs = nowMs;
  }

  tell(text: string): void {
    if (this.isOn) this.lines.push(`${formatMs(this.nowMs())}  ${text}`);
  }
}

/** `12.034 s`, of a width that lines up. */
function formatMs(ms: number): string {
  return `${(ms / 1_000).toFixed(3).padStart(8)} s`;
}
