// The pictures of docs/status-page.md: the page over a state that moves, after five minutes of its clock.
//
//   npm run screenshots

import { mkdirSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { nextLook, openBrowser, watchedPage } from './browser.ts';
import { FLOW, PageStage } from './stage.ts';

const folder = resolve(import.meta.dirname, '../../docs/images');
/** Five minutes. */
const LOOKS = 152;
const DESK = { width: 1280, height: 1000 };

mkdirSync(folder, { recursive: true });
const browser = await openBrowser();
for (const { name, options, height } of [
  { name: 'light', options: { colorScheme: 'light', viewport: DESK }, height: 1000 },
  { name: 'dark', options: { colorScheme: 'dark', viewport: DESK }, height: 1000 },
  {
    name: 'phone',
    options: { colorScheme: 'light', viewport: { width: 360, height: 740 }, isMobile: true, deviceScaleFactor: 1.5 },
    height: 1000,
  },
] as const) {
  const stage = new PageStage();
  const origin = await stage.open();
  const { page, problems } = await watchedPage(browser, options);
  // The name of the machine that makes the pictures is nobody's business.
  await page.route('**/-/ui*', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: (await response.text()).replaceAll(hostname(), 'director-1') });
  });
  await page.clock.install({ time: new Date('2026-11-23T14:02:06Z') });
  await page.goto(`${origin}/-/ui?flow=${encodeURIComponent(FLOW)}&without=web-workers/web-3`);
  // From here on its time is the stage's.
  await page.clock.pauseAt(new Date('2026-11-23T14:02:30Z'));
  for (let look = 0; look < LOOKS; look++) await nextLook(page);
  const shot = async (file: string, clip: { x: number; y: number; width: number; height: number }) => {
    const path = join(folder, `${file}.png`);
    await page.screenshot({ path, fullPage: true, clip });
    console.log(`${path} ${statSync(path).size} bytes`);
  };
  const { width } = options.viewport;
  await shot(name, { x: 0, y: 0, width, height });
  if (name === 'light') {
    const box = await page.locator('#explain').boundingBox();
    if (box !== null) await shot('explain', { x: 0, y: box.y - 12, width, height: box.height + 24 });
  }
  if (problems.length > 0) throw new Error(problems.join('\n'));
  await page.context().close();
  await stage.close();
}
await browser.close();
