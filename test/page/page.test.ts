// The status page in a real browser, over a state that moves: what it shows and says, with and without its script, by keyboard, on a phone, to axe-core.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Browser } from 'playwright-core';
import { needs } from '../needs.ts';
import { looksOf, nextLook, objections, openBrowser, textOf, watchedPage } from './browser.ts';
import { FLOW, HOSTILE, PageStage } from './stage.ts';

const possible = needs('chromium');
let browser: Browser;

before(async () => {
  if (possible.skip === undefined) browser = await openBrowser();
});
after(() => browser?.close());

async function staged(t: { after(end: () => unknown): void }): Promise<{ stage: PageStage; origin: string }> {
  const stage = new PageStage();
  const origin = await stage.open();
  t.after(() => stage.close());
  return { stage, origin };
}

test(
  'it keeps itself up to date: rates, charts, what needs attention, and says what changed; it asks nobody else',
  possible,
  async (t) => {
    const { stage, origin } = await staged(t);
    stage.events.push({ sequence: 9, time: 0, level: 'warn', kind: 'hostile', text: HOSTILE, fields: {} });
    const { page, problems, requests } = await watchedPage(browser);
    await page.clock.install();
    await page.goto(`${origin}/`);
    assert.equal(page.url(), `${origin}/-/ui`);
    assert.match(await page.title(), /^ready · /);
    for (let look = 0; look < 3; look++) await nextLook(page);
    assert.match(await textOf(page.locator('#freshness')), /^Live, updated /);
    // 18,400 packets a second at most, 0.58–0.98 of it in a wave; the browser's clock is not the stage's.
    const row = page.locator('#services tbody tr', { hasText: 'web-workers' }).first();
    const rate = await textOf(row.locator('[data-series="service web"] .rate'));
    assert.match(rate, /^1[0-9]\.\d k$/);
    assert.match((await row.locator('.spark .line').getAttribute('d')) ?? '', /^M[\d.]+ [\d.]+(L[\d.]+ [\d.]+){2}$/);
    assert.equal(await page.locator('.card .chart .line').count(), 4);
    assert.match(await textOf(page.locator('.card.forwarded .now')), /^\d\d\.\d k packets\/s/);
    // As the server counts, so does the page.
    const count = await row.locator('[data-series="service web"]').getAttribute('data-count');
    assert.match(await textOf(row), new RegExp(Number(count).toLocaleString('en-US')));
    // What came in as text is text.
    assert.equal(await textOf(page.locator('#events td.text').first()), HOSTILE);
    assert.equal(await page.locator('img, script:not([src])').count(), 0);

    assert.equal(await textOf(page.locator('#said')), '', 'nothing is said while nothing changes');
    stage.ready = { ok: false, reasons: ['pool web-workers has no serving backend'] };
    await nextLook(page);
    assert.match(await page.title(), /^NOT READY · /);
    assert.match(await textOf(page.locator('#said')), /now not ready.*pool web-workers has no serving backend/);
    assert.match(await textOf(page.locator('.notes')), /▲ pool web-workers has no serving backend/);
    stage.ready = { ok: true, reasons: [] };
    await nextLook(page);
    assert.match(await textOf(page.locator('#said')), /now ready.*no longer: pool web-workers/);

    // Another process: its counters begin anew, and no rate is made of the two.
    stage.pid++;
    await nextLook(page);
    assert.equal(await textOf(row.locator('[data-series="service web"]')), '–');

    assert.deepEqual(problems, []);
    assert.deepEqual([...new Set(requests.map((address) => new URL(address).origin))], [origin]);
    const asked = new Set(requests.map((address) => new URL(address).pathname));
    assert.deepEqual(
      [...asked].filter((path) => !/^\/(-\/ui(\/page\.(js|css)|\/icon\.svg)?)?$/.test(path)),
      [],
    );
    assert.deepEqual(stage.failures, []);
    await page.context().close();
  },
);

test(
  'pause, hide, filter: nothing is asked while paused or unseen, and a look changes nothing of what was typed',
  possible,
  async (t) => {
    const { stage, origin } = await staged(t);
    const { page, problems } = await watchedPage(browser);
    await page.clock.install();
    await page.goto(`${origin}/-/ui`);
    await nextLook(page);
    await page.getByRole('button', { name: 'Pause' }).click();
    assert.match(await textOf(page.locator('#freshness')), /^Paused at /);
    const paused = stage.looks;
    await page.clock.runFor(10_000);
    assert.equal(stage.looks, paused);
    const resume = page.getByRole('button', { name: 'Resume' });
    await resume.click();
    await page.getByText('Live, updated').waitFor();
    assert.equal(stage.looks, paused + 1);

    const filter = page.getByLabel('Show backends with');
    await filter.fill('up- active');
    assert.equal(await textOf(page.locator('#filtered')), '2 of 9');
    await nextLook(page);
    assert.deepEqual(await page.locator('#pools tbody tr:visible th').allInnerTexts(), ['up-1', 'up-2']);
    assert.deepEqual(await page.locator('#pools section:visible h3').allInnerTexts(), ['uploads']);
    assert.ok(await filter.evaluate((box) => box.ownerDocument.activeElement === box), 'it keeps the focus');
    await filter.fill('');
    assert.equal(await page.locator('#pools tbody tr:visible').count(), 9);

    const hide = (state: string) =>
      page.evaluate(
        `Object.defineProperty(document, 'visibilityState', { value: '${state}', configurable: true }); document.dispatchEvent(new Event('visibilitychange'))`,
      );
    await hide('hidden');
    const unseen = stage.looks;
    await page.clock.runFor(10_000);
    assert.equal(stage.looks, unseen);
    const before = await looksOf(page);
    await hide('visible');
    await page.locator(`html[data-looks="${before + 1}"]`).waitFor();
    assert.deepEqual(problems, []);
    await page.context().close();
  },
);

test('a director that goes and comes back: said once, asked on; another version brings its own page', possible, async (t) => {
  const { stage, origin } = await staged(t);
  const { page } = await watchedPage(browser);
  await page.clock.install();
  await page.goto(`${origin}/-/ui`);
  await nextLook(page);
  await stage.close();
  await nextLook(page);
  assert.match(await textOf(page.locator('#freshness')), /^No answer since .* What you see is older\.$/);
  assert.equal(await textOf(page.locator('#said')), 'The director does not answer.');
  assert.equal(await page.locator('#services tbody tr').count(), 4);
  await stage.open(Number(new URL(origin).port));
  await nextLook(page);
  assert.match(await textOf(page.locator('#said')), /The director answers again/);
  stage.version = '0.2.0';
  const loaded = page.waitForEvent('load');
  await page.clock.runFor(2000);
  await loaded;
  assert.equal(await page.locator('html').getAttribute('data-version'), '0.2.0');
  await page.context().close();
});

test('by keyboard alone: past the head, to a question, its answer, and a wrong one', possible, async (t) => {
  const { origin } = await staged(t);
  const { page, problems } = await watchedPage(browser);
  await page.goto(`${origin}/-/ui`);
  const focused = () =>
    page.evaluate('document.activeElement.id || document.activeElement.textContent || document.activeElement.tagName');
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'Skip to the content');
  await page.keyboard.press('Enter');
  assert.equal(await focused(), 'main');
  const met: unknown[] = [];
  for (let step = 0; step < 40 && met.at(-1) !== 'flow'; step++) {
    await page.keyboard.press('Tab');
    met.push(await focused());
  }
  assert.equal(met.at(-1), 'flow', String(met));
  await page.keyboard.type(FLOW);
  await page.keyboard.press('Tab');
  await page.keyboard.type('syn');
  await page.keyboard.press('Tab');
  await page.keyboard.type('1400');
  await page.keyboard.press('Tab');
  await page.keyboard.type('web-workers/web-1');
  await page.keyboard.press('Enter');
  const verdict = page.locator('#answer .verdict');
  await verdict.first().waitFor();
  assert.match(
    await textOf(verdict.first()),
    /tcp 203\.0\.113\.77:40000 → 192\.0\.2\.10:443 ● forwarded to web-workers\/web-\d \(/,
  );
  assert.match(
    await textOf(verdict.last()),
    /^Without web-workers\/web-1: (● it would stay where it is|▲ it would go to web-workers\/)/,
  );
  assert.deepEqual(await page.locator('.trail h3').allInnerTexts(), ['packet', 'service', 'flow', 'backend', 'size', 'leaves']);
  assert.deepEqual(await page.locator('.boxes b').allInnerTexts(), [
    'outer IP',
    'UDP',
    'GUE',
    'inner IP',
    'inner transport and payload',
  ]);
  assert.match(await textOf(page.locator('.bytes tbody tr').first()), /^0\t45 .*\touter IP$/);
  assert.equal(await focused(), 'answer');
  assert.equal(
    page.url(),
    `${origin}/-/ui?flow=tcp+203.0.113.77%3A40000+192.0.2.10%3A443&flags=syn&length=1400&without=web-workers%2Fweb-1#explain`,
  );

  await page.locator('#flow').fill(HOSTILE);
  await page.keyboard.press('Enter');
  await page.locator('#problem').waitFor();
  assert.equal(await focused(), 'flow');
  assert.equal(await page.locator('#flow').getAttribute('aria-invalid'), 'true');
  assert.match(await textOf(page.locator('#said')), /"><img" is no protocol/);
  assert.equal(await page.locator('#answer img').count(), 0);
  // A packet that is dropped: its reason is the last step.
  await page.locator('#flow').fill('tcp 203.0.113.77:40000 192.0.2.99:443');
  await page.locator('#without').fill('');
  await page.keyboard.press('Enter');
  await page.locator('.step.dropped').waitFor();
  assert.match(await textOf(page.locator('.step.dropped')), /not-a-service/);
  assert.equal(await page.locator('#flow').getAttribute('aria-invalid'), null);
  assert.deepEqual(problems, []);
  await page.context().close();
});

test('without JavaScript: the tables are there, and a question is answered', possible, async (t) => {
  const { origin } = await staged(t);
  const { page, problems } = await watchedPage(browser, { javaScriptEnabled: false });
  await page.goto(`${origin}/-/ui`);
  assert.deepEqual(await page.locator('#services thead th:visible').allInnerTexts(), [
    'Service',
    'Pool',
    'State',
    'Packets',
    'Bytes',
  ]);
  assert.equal(await page.locator('#pools tbody tr:visible').count(), 9);
  assert.match(await textOf(page.locator('#drops')), /not-a-service/);
  assert.match(await textOf(page.locator('#events')), /connection refused/);
  assert.equal(await page.locator('button:visible').count(), 1, 'no button but that of the question');
  await page.locator('#flow').fill(FLOW);
  await page.getByRole('button', { name: 'Explain' }).click();
  assert.match(await textOf(page.locator('#answer .verdict')), /forwarded to web-workers/);
  assert.equal(await page.locator('#flow').inputValue(), FLOW);
  await page.goto(`${origin}/-/ui?flow=${encodeURIComponent(HOSTILE)}`);
  assert.match(await textOf(page.locator('#problem')), /"><img" is no protocol/);
  assert.equal(await page.locator('#flow').inputValue(), HOSTILE);
  assert.deepEqual(problems, []);
  await page.context().close();
});

for (const [name, options] of [
  ['light', { colorScheme: 'light' }],
  ['dark', { colorScheme: 'dark' }],
  ['on a phone', { colorScheme: 'light', viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true }],
] as const) {
  test(`axe-core objects to nothing: ${name}`, possible, async (t) => {
    const { stage, origin } = await staged(t);
    stage.ready = { ok: false, reasons: ['host: net.ipv4.ip_forward is 0'] };
    // axe-core is put into the page; that alone is why the policy is off here. The other tests run under it.
    const { page, problems } = await watchedPage(browser, { ...options, bypassCSP: true });
    await page.clock.install();
    await page.goto(`${origin}/-/ui?flow=${encodeURIComponent(FLOW)}&without=web-workers/web-1`);
    await nextLook(page);
    await nextLook(page);
    assert.deepEqual(await objections(page), []);
    assert.ok(
      Number(await page.evaluate('document.documentElement.scrollWidth')) <= page.viewportSize()!.width,
      'only tables scroll sideways',
    );
    await page.locator('#flow').fill('nonsense');
    await page.keyboard.press('Enter');
    await page.locator('#problem').waitFor();
    assert.deepEqual(await objections(page, '#explain'), []);
    assert.deepEqual(problems, []);
    await page.context().close();
  });
}
