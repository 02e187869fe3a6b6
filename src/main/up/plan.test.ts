import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { createSseReader } from '../commands/sseLines.ts';
import { splitPlace } from '../commands/fault.ts';
import { parseConfig } from '../config/load.ts';
import { sumMetric } from './figures.ts';
import { DEMO_REGIONS, nodeConfigText, planUp, roundTripMs } from './plan.ts';

const PLAN = planUp({
  regions: DEMO_REGIONS,
  basePort: 8100,
  dataDir: '/d',
  modelServers: 2,
  modelFile: '/m.gguf',
  hasWan: true,
  tokensPerSecondMax: 80,
});

describe('planUp', () => {
  it('gives each region its ports after the base port', () => {
    assert.deepEqual(
      PLAN.nodes.map(({ region, apiPort, adminPort, peerPort }) => [
        region,
        apiPort,
        adminPort,
        peerPort,
      ]),
      [
        ['us-east-2', 8101, 8111, 8121],
        ['eu-central-1', 8102, 8112, 8122],
        ['ap-northeast-1', 8103, 8113, 8123],
      ],
    );
  });

  it('delays the three pairs by 104, 135 and 228 ms, either way round', () => {
    assert.equal(roundTripMs('us-east-2', 'eu-central-1'), 104);
    assert.equal(roundTripMs('ap-northeast-1', 'us-east-2'), 135);
    assert.equal(roundTripMs('eu-central-1', 'ap-northeast-1'), 228);
  });

  for (const node of PLAN.nodes) {
    it(`writes a configuration for ${node.region} that the strict reader takes`, () => {
      const text = nodeConfigText(PLAN, node);
      const parsed = parseConfig(text, '/d/banyan.yaml', {});
      assert.ok(parsed.ok, JSON.stringify(parsed));
      assert.doesNotMatch(
        text,
        /banyan-demo\n.*sha|key: banyan-demo/,
        'the key is not in the file',
      );
    });
  }
});

describe('sumMetric', () => {
  it('adds all series of one name and none of a longer one', () => {
    const text = '# TYPE a counter\na{x="1"} 2\na{x="2"} 3\na_sum 100\nab 50\n';
    assert.equal(sumMetric(text, 'a'), 5);
  });
});

describe('createSseReader', () => {
  it('gives the same events however the text is cut', () => {
    const text = 'data: {"a":1}\n\n: comment\n\ndata: x\r\n\r\ndata: [DONE]\n\n';
    for (let size = 1; size < text.length; size += 1) {
      const seen: string[] = [];
      const read = createSseReader((data) => seen.push(data));
      for (let at = 0; at < text.length; at += size) read(text.slice(at, at + size));
      assert.deepEqual(seen, ['{"a":1}', 'x', '[DONE]'], `pieces of ${size}`);
    }
  });
});

describe('splitPlace', () => {
  it('tells a region from a target in it', () => {
    assert.deepEqual(splitPlace('eu-central-1'), ['eu-central-1', null]);
    assert.deepEqual(splitPlace('eu-central-1/llama-a'), ['eu-central-1', 'llama-a']);
  });
});
