/** The picture of the figures: bars of each part, drawn as an SVG without help. */

import type { MachineFacts } from './machine.ts';
import { figureOf } from './report.ts';
import type { Row } from './rounds.ts';

interface Panel {
  readonly part: string;
  readonly title: string;
  readonly figure: string;
  readonly unit: string;
}

const PANELS: readonly Panel[] = [
  { part: 'a', title: 'JSON chat, 2 KB in', figure: 'perSecond', unit: 'requests/s' },
  { part: 'b', title: 'JSON chat, 50 KB in', figure: 'perSecond', unit: 'requests/s' },
  { part: 'c', title: '256 fast streams', figure: 'perSecond', unit: 'chunks/s' },
  { part: 'c16', title: '256 streams, 16 chunks a write', figure: 'perSecond', unit: 'chunks/s' },
  { part: 'd', title: '2,000 slow streams, memory', figure: 'rssKbPerStream', unit: 'KB a stream' },
  { part: 'd', title: '2,000 slow streams, CPU', figure: 'busyPercent', unit: '% of a core' },
];

const WIDTH = 880;
const COLUMN = 430;
const BAR = 16;
const STEP = 24;
const LABEL = 74;
const COLORS: Readonly<Record<string, string>> = { banyan: '#1f7a4d' };
const OTHER = '#9aa5ad';

/** One SVG, readable on a light and on a dark page. */
export function drawPicture(rows: readonly Row[], machine: MachineFacts): string {
  const panels = PANELS.filter(({ part }) => rows.some((row) => row.part === part));
  const systems = new Set(
    rows.map(({ system }) => system).filter((name) => !name.includes('work')),
  );
  const panelHeight = systems.size * STEP + 52;
  const height = Math.ceil(panels.length / 2) * panelHeight + 70;
  const drawn = panels.map((panel, index) => {
    const x = 20 + (index % 2) * COLUMN;
    const y = 56 + Math.floor(index / 2) * panelHeight;
    return drawPanel(panel, rows, x, y);
  });
  const foot =
    `${machine.cpu}, one core for the system under test · Linux ${machine.kernel} · ` +
    `Node ${machine.node} · commit ${machine.commit} · ${machine.date.slice(0, 10)}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}"`,
    ` height="${height}" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="12">\n`,
    `<rect width="${WIDTH}" height="${height}" rx="8" fill="#ffffff"/>\n`,
    '<text x="20" y="30" font-size="17" font-weight="600" fill="#1b1f23">',
    'One core: Banyan beside proxies and gateways</text>\n',
    ...drawn,
    `<text x="20" y="${height - 14}" font-size="10" fill="#6a737d">${escape(foot)}</text>\n`,
    '</svg>\n',
  ].join('');
}

function drawPanel(panel: Panel, rows: readonly Row[], x: number, y: number): string {
  const bars = rows
    .filter(({ part }) => part === panel.part)
    .map((row) => ({ system: row.system, value: figureOf(row, panel.figure)?.median ?? null }));
  const most = Math.max(...bars.map(({ value }) => value ?? 0), 1e-9);
  const room = COLUMN - LABEL - 110;
  const lines = bars.map(({ system, value }, index) => {
    const top = y + 12 + index * STEP;
    const length = value === null ? 0 : Math.max(1, (Math.max(0, value) / most) * room);
    const digits = value !== null && value < 100 ? 1 : 0;
    const shown =
      value === null
        ? 'not measured'
        : value.toLocaleString('en-US', { maximumFractionDigits: digits });
    const weight = system === 'banyan' ? ' font-weight="600"' : '';
    return (
      `<text x="${x}" y="${top + 12}" fill="#24292e"${weight}>${escape(system)}</text>` +
      `<rect x="${x + LABEL}" y="${top}" width="${length.toFixed(1)}" height="${BAR}" rx="2" ` +
      `fill="${COLORS[system] ?? OTHER}"/>` +
      `<text x="${(x + LABEL + length + 6).toFixed(1)}" y="${top + 12}" ` +
      `fill="#24292e"${weight}>${shown}</text>\n`
    );
  });
  const title = `${panel.title}, ${panel.unit}`;
  const head = `<text x="${x}" y="${y}" font-weight="600" fill="#1b1f23">${escape(title)}</text>`;
  return `${head}\n${lines.join('')}`;
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
