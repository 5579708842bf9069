// Chromium, and what a page in it did: what it said in its console, and whom it asked.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';
import { type Browser, type BrowserContextOptions, chromium, type Locator, type Page } from 'playwright-core';
import { findCommand } from '../needs.ts';

/** No name but the loopback address leads anywhere: whoever asks elsewhere gets an error, and `Watched.requests` has it. */
const ARGUMENTS = ['--no-sandbox', '--no-proxy-server', '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1'];

export function openBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: findCommand('chromium') ?? 'chromium', args: ARGUMENTS });
}

export interface Watched {
  readonly page: Page;
  /** Errors and warnings of the console, and exceptions that nobody caught. */
  readonly problems: string[];
  /** Addresses that were asked. */
  readonly requests: string[];
}

export async function watchedPage(browser: Browser, options: BrowserContextOptions = {}): Promise<Watched> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const problems: string[] = [];
  const requests: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') problems.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => problems.push(`exception: ${error.message}`));
  page.on('dialog', (dialog) => {
    problems.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('request', (request) => requests.push(request.url()));
  return { page, problems, requests };
}

/** How often the page has asked since it was opened. */
export async function looksOf(page: Page): Promise<number> {
  return Number((await page.locator('html').getAttribute('data-looks')) ?? 0);
}

/** Lets two seconds pass on the page's clock, until it has taken the next look. The page's clock must be installed. */
export async function nextLook(page: Page): Promise<void> {
  const before = await looksOf(page);
  await page.clock.fastForward(2000);
  for (let left = 400; (await looksOf(page)) === before; left--) {
    if (left === 0) throw new Error('the page takes no look');
    await delay(5);
  }
}

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** What axe-core objects to, a line for each: rule, and where. `part`: a selector; the whole page without. */
export async function objections(page: Page, part = 'html'): Promise<string[]> {
  await page.evaluate(readFileSync(AXE, 'utf8'));
  return page.evaluate(async (where) => {
    const { axe } = globalThis as unknown as {
      axe: {
        run(
          where: string,
        ): Promise<{ violations: { id: string; help: string; nodes: { target: unknown; failureSummary?: string }[] }[] }>;
      };
    };
    const { violations } = await axe.run(where);
    return violations.flatMap(({ id, help, nodes }) =>
      nodes.map(({ target, failureSummary }) => `${id} (${help}): ${JSON.stringify(target)} ${failureSummary ?? ''}`),
    );
  }, part);
}

/** What is seen of an element: neither what is hidden nor how the source is laid out. */
export function textOf(element: Locator): Promise<string> {
  // biome-ignore lint/performance/useDomNodeTextContent: that is the question here
  return element.innerText();
}
