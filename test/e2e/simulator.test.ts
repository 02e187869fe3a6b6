/** The simulator's page in a real browser: the production Raft, run and broken by a person. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, describe, it } from 'node:test';

import { chromium, type Browser, type Page } from 'playwright-core';

import { Figures } from '../../src/main/up/figures.ts';
import { createPages } from '../../src/main/up/pages.ts';
import { planUp } from '../../src/main/up/plan.ts';
import { findChromium } from '../../tools/chromium.ts';

const plan = planUp({
  regions: ['eu-central-1'],
  basePort: 1,
  dataDir: '/nowhere',
  modelServers: 1,
  modelFile: '/nowhere',
  hasWan: false,
  tokensPerSecondMax: null,
});
const NOTHING_RUNS = { regions: [], cuts: () => [], startedWallMs: 0, isReady: () => true };
const pages = createPages(plan, new Figures(plan, NOTHING_RUNS));
const server = createServer((request, response) => {
  if (!pages(request, response)) response.writeHead(404).end();
});

const browserPath = findChromium();
const noBrowser = browserPath === null ? 'no Chromium on this machine' : false;

describe('the simulator page', () => {
  let base = '';
  before(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    assert.ok(typeof address === 'object' && address !== null);
    base = `http://127.0.0.1:${address.port}`;
  });
  after(() => {
    server.close();
    server.closeAllConnections();
  });

  it('is served under a policy that allows its own modules and nothing else', async () => {
    const page = await fetch(`${base}/simulator`);
    assert.equal(page.status, 200);
    const policy = page.headers.get('content-security-policy') ?? '';
    assert.match(policy, /^default-src 'none'; style-src 'sha256-[^ ]+'; /);
    assert.match(policy, /; script-src 'sha256-[^ ]+' 'self'; connect-src 'self'; /);
    const html = await page.text();
    assert.doesNotMatch(html.replaceAll('http://www.w3.org/2000/svg', ''), /https?:\/\//);
  });

  it('serves the modules that it imports, with types erased, and no other file', async () => {
    const module = await fetch(`${base}/simulator/src/raft/node.ts`);
    assert.equal(module.headers.get('content-type'), 'text/javascript; charset=utf-8');
    const text = await module.text();
    assert.match(text, /export class RaftNode/);
    assert.doesNotMatch(text, /import type|: Output \{/);
    for (const path of ['main/cli.ts', 'raft/core.test.ts', '../package.json', '%2e%2e/LICENSE']) {
      const other = await fetch(`${base}/simulator/src/${path}`);
      assert.equal(other.status, 404, path);
      await other.arrayBuffer();
    }
    assert.equal((await fetch(`${base}/simulator`, { method: 'POST' })).status, 404);
  });

  describe('in a browser', { skip: noBrowser }, () => {
    let browser: Browser;
    let page: Page;
    const faults: string[] = [];

    before(async () => {
      browser = await chromium.launch({
        executablePath: browserPath ?? '',
        args: [
          '--no-sandbox',
          '--disable-gpu',
          '--disable-background-networking',
          '--no-first-run',
        ],
      });
      page = await browser.newPage({ locale: 'en-US', viewport: { width: 1360, height: 1000 } });
      page.on('pageerror', (cause) => faults.push(cause.message));
      page.on('console', (line) => {
        if (line.type() === 'error') faults.push(line.text());
      });
      page.on('request', (request) => {
        if (!request.url().startsWith(base)) faults.push(`request to ${request.url()}`);
      });
      await page.goto(`${base}/simulator`);
      await page.click('#pace button:last-child');
    });
    after(() => browser.close());

    const LEADER = '[data-role="leader"][data-state="up"]';
    async function leader(): Promise<string> {
      await page.waitForSelector(LEADER);
      const id = await page.getAttribute(LEADER, 'data-node');
      assert.ok(id !== null);
      return id;
    }

    it('an election happens, and a proposal is committed on a majority', async () => {
      const id = await leader();
      await page.click(`[data-node="${id}"]`);
      await page.fill('#value', '42');
      await page.click('#send');
      await page.waitForSelector('#story .committed:has-text("x = 42")');
      const cells = page.locator('.cell.committed', { hasText: 'x = 42' });
      await cells.nth(2).waitFor();
    });

    it('a killed leader is replaced, and comes back as a follower', async () => {
      const id = await leader();
      await page.click(`[data-node="${id}"]`);
      await page.click('#power');
      await page.waitForSelector(`[data-node="${id}"][data-state="down"]`);
      const next = await leader();
      assert.notEqual(next, id);
      await page.click('#power');
      await page.waitForSelector(`[data-node="${id}"][data-role="follower"][data-state="up"]`);
    });

    it('a cut link shows, a region is cut off, and all heals', async () => {
      await page.locator('#links button').first().click();
      await page.waitForSelector('[data-cut="true"]', { state: 'attached' });
      await page.locator('[data-region="ap-northeast-1"] .pill').click();
      await page.waitForSelector('[data-region="ap-northeast-1"] .off');
      await page.click('#heal');
      await page.waitForSelector('[data-cut="true"]', { state: 'detached' });
    });

    it('time stands still when paused, and goes on message by message', async () => {
      await page.click('#play');
      const clock = await page.textContent('#clock');
      await page.evaluate('new Promise((done) => requestAnimationFrame(done))');
      assert.equal(await page.textContent('#clock'), clock);
      for (let count = 0; count < 10; count += 1) await page.click('#step');
      assert.notEqual(await page.textContent('#clock'), clock);
      await page.click('#play');
    });

    it('speaks Chinese, takes other shapes, and has no error', async () => {
      await page.click('#language');
      await page.waitForSelector('html[lang="zh-CN"]');
      assert.equal(await page.textContent('#send'), '提议');
      await page.selectOption('#shape', '1,1,1,1,1');
      await page.waitForSelector('[data-region="ap-south-1"]');
      await leader();
      assert.deepEqual(faults, []);
    });
  });
});
