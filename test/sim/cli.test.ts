import { equal, ok } from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { test } from 'node:test';

const FLAGS = ['--disable-warning=ExperimentalWarning'];

function run(script: string, ...args: readonly string[]): { code: number | null; out: string } {
  const child = spawnSync(process.execPath, [...FLAGS, `test/sim/${script}.ts`, ...args], {
    encoding: 'utf8',
  });
  return { code: child.status, out: child.stdout };
}

test('a seed gives the same run in another process, and ends with the command that repeats it', () => {
  const [first, second] = [run('sim', '--seed', '12', '-o', 'json'), run('sim', '--seed', '12')];
  equal(first.code, 0);
  equal(second.code, 0);
  const { traceHash, command } = JSON.parse(first.out) as { traceHash: number; command: string };
  ok(second.out.includes(`trace ${traceHash.toString(16)}`));
  ok(second.out.trimEnd().endsWith(`replay: ${command}`));
});

test('what a reduction names is all that is left of the run', () => {
  const { code, out } = run('sim', '--seed', '12', '--faults', 'none', '--clients', '1');
  equal(code, 0);
  ok(!/ #\d+ /.test(out));
  ok(out.includes('1 clients, 0 faults'));
});

test('a wrong command line is told, with exit code 2; --help ends well', () => {
  for (const script of ['sim', 'swarm']) {
    equal(run(script, '--no-such-option').code, 2);
    equal(run(script, '--help').code, 0);
  }
  equal(run('sim', '--seed', 'x').code, 2);
  equal(run('sim', '--calm', 'weather').code, 2);
  equal(run('swarm', '--minutes', '0').code, 2);
});

test('a swarm runs the seeds that it was given, in several processes', () => {
  const { code, out } = run(
    'swarm',
    '--from',
    '40',
    '--seeds',
    '12',
    '--processes',
    '2',
    '-o',
    'json',
  );
  equal(code, 0);
  const report = JSON.parse(out) as { seeds: number; failures: unknown[] };
  equal(report.seeds, 12);
  equal(report.failures.length, 0);
});

test('Ctrl-C ends a swarm with its report and 130', { timeout: 60_000 }, async () => {
  const child = spawn(process.execPath, [
    ...FLAGS,
    'test/sim/swarm.ts',
    '--minutes',
    '5',
    '--processes',
    '1',
  ]);
  let out = '';
  let isAsked = false;
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
    // The first word of progress: it is at work.
    if (isAsked || !out.includes('seeds,')) return;
    isAsked = true; // Once: a process that is ending has no handler any more.
    child.kill('SIGINT');
  });
  const code = await new Promise((resolve) => child.on('exit', resolve));
  equal(code, 130);
  ok(out.includes('every claim held'));
});
