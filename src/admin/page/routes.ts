/** The paths of the status page: the page itself, and what it is made with. Nothing of it comes from elsewhere, and the browser is told to hold to that. */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import type { AdminSource, Answer } from '../server.ts';
import type { Question, Told } from './explain-box.ts';
import { queryOf } from './explain-box.ts';
import { pageText } from './page.ts';

export const PAGE_PATH = '/-/ui';

const ASSETS: ReadonlyMap<string, { readonly file: string; readonly type: string }> = new Map([
  [`${PAGE_PATH}/page.js`, { file: 'page.js', type: 'text/javascript; charset=utf-8' }],
  [`${PAGE_PATH}/page.css`, { file: 'page.css', type: 'text/css; charset=utf-8' }],
  [`${PAGE_PATH}/icon.svg`, { file: 'icon.svg', type: 'image/svg+xml' }],
]);

/** No inline script or style, nothing from another origin, in nobody's frame. */
const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
};

/** Whether who asks is a browser that wants a page: curl and probes say that they take anything, or nothing. */
export function wantsPage(accept: string | undefined): boolean {
  return (accept ?? '').split(',').some((part) => {
    const [type, ...parameters] = part
      .trim()
      .toLowerCase()
      .split(/\s*;\s*/);
    return type === 'text/html' && !parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter));
  });
}

/** To the page, from `/`: relative, so that it holds behind a proxy's prefix as well. */
export const TO_PAGE: Answer = {
  status: 302,
  type: 'text/plain; charset=utf-8',
  body: 'the status page is at /-/ui\n',
  headers: { location: '-/ui', vary: 'accept' },
};

/** The answer at `path`; null when it is none of ours. */
export function pageAnswer(path: string, query: string, source: AdminSource): Answer | null {
  if (path === PAGE_PATH) return { status: 200, type: 'text/html; charset=utf-8', body: page(query, source), headers: HEADERS };
  const asset = ASSETS.get(path);
  return asset === undefined ? null : { status: 200, type: asset.type, body: assetText(asset.file), headers: HEADERS };
}

const texts = new Map<string, string>();

/** Beside this file, in the source tree and in dist/ alike; read once. */
function assetText(file: string): string {
  let text = texts.get(file);
  if (text === undefined) {
    text = readFileSync(new URL(`assets/${file}`, import.meta.url), 'utf8');
    texts.set(file, text);
  }
  return text;
}

function page(query: string, source: AdminSource): string {
  const asked = new URLSearchParams(query);
  const word = (name: string) => asked.get(name) ?? '';
  const question: Question = { flow: word('flow'), flags: word('flags'), length: word('length'), without: word('without') };
  return pageText({
    status: source.status(),
    host: hostname(),
    events: source.events(),
    question,
    told: tell(question, source),
  });
}

/** The page is answered with 200 whatever the question: it is the question that is wrong, and the page that says so. */
function tell(question: Question, source: AdminSource): Told | null {
  const query = queryOf(question);
  if (query === null) return null;
  const { status, body } = source.explain(query);
  if (status === 200) return { answer: body } as Told;
  const { message = `no answer: HTTP ${status}`, hint = '' } = body as { message?: string; hint?: string };
  return { problem: message, hint };
}
