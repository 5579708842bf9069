/**
 * The status page: a state as one HTML document. It is whole without a script; the script (assets/page.js) asks for this same page again every two seconds, takes
 * over what has changed in the parts marked `data-part`, and makes rates and charts of the counters in `data-count`.
 */
import { duration } from '../../base/duration.ts';
import type { JournalEvent } from '../../observe/events.ts';
import type { Status } from '../status.ts';
import { backendNotes, conditionNotes, directorNotes, flowTableNote, lostNotes, type Note } from '../status-words.ts';
import { explainBox, type Question, type Told } from './explain-box.ts';
import { grouped } from './figures.ts';
import { type Html, html } from './html.ts';
import { dropsTable, eventsTable, poolSection, servicesTable, stateOf, threadsTable } from './tables.ts';

export interface PageFacts {
  readonly status: Status;
  /** Of the machine: several directors look alike. */
  readonly host: string;
  /** Oldest first. */
  readonly events: readonly JournalEvent[];
  readonly question: Question;
  /** null: nothing was asked. */
  readonly told: Told | null;
}

const SECTIONS = [
  ['services', 'Services'],
  ['drops', 'Drops'],
  ['pools', 'Pools'],
  ['explain', 'Explain'],
  ['events', 'Events'],
  ['process', 'Process'],
] as const;

const DESCRIPTIONS = [
  ['received', 'Received', 'came in'],
  ['forwarded', 'Forwarded', 'went to a backend'],
  ['replied', 'Answered', 'by the director itself'],
  ['dropped', 'Dropped', 'for a reason below'],
] as const;

/** The document, for `Content-Type: text/html; charset=utf-8`. */
export function pageText({ status, host, events, question, told }: PageFacts): string {
  const { ready, version } = status;
  const part = (id: string, name: string, content: Html) =>
    html`<section id="${id}" aria-labelledby="${id}-name"><h2 id="${id}-name">${name}</h2><div data-part="${id}">${content}</div></section>`;
  const pools = html`${status.pools.map((pool) => poolSection(pool, status))}`;
  return html`<!doctype html>
<html lang="en" data-process="${status.pid}" data-version="${version}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${ready.ok ? 'ready' : 'NOT READY'} · ${host} · gue-director</title>
<link rel="icon" href="ui/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="ui/page.css">
<script src="ui/page.js" defer></script>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
<div data-part="head">${heading(status, host)}</div>
<div class="tools"><p id="freshness">As of the moment this page was made. With JavaScript it keeps itself up to date and draws rates.</p><button id="pause" type="button" hidden>Pause</button></div>
<nav aria-label="Sections"><ul>${SECTIONS.map(([id, name]) => html`<li><a href="#${id}">${name}</a></li>`)}</ul></nav>
</header>
<main id="main" tabindex="-1">
<p id="said" class="unseen" role="status"></p>
<div data-part="notes">${notesOf(status)}</div>
<section aria-label="Packets"><div class="cards" data-part="packets">${cards(status)}</div></section>
${part('services', 'Services', servicesTable(status))}
${part('drops', 'Drops', dropsTable(status))}
<section id="pools" aria-labelledby="pools-name"><h2 id="pools-name">Pools and backends</h2>
<p class="filter" hidden><label for="filter">Show backends with</label> <input id="filter" type="search" autocomplete="off" spellcheck="false"> <span id="filtered" role="status"></span></p>
<div data-part="pools">${pools}</div></section>
<section id="explain" aria-labelledby="explain-name"><h2 id="explain-name">Packet, where are you?</h2>
${explainBox(status, question, told)}</section>
${part('events', 'Last events', eventsTable(events))}
${part('process', 'Process', processOf(status))}
</main>
</body>
</html>
`.text;
}

function heading({ version, ready, healthy, uptime, generation, pid, config }: Status, host: string): Html {
  const state = !healthy.ok ? stateOf('bad', 'not healthy') : ready.ok ? stateOf('good', 'ready') : stateOf('warn', 'not ready');
  return html`<h1>${host} <span id="state">${state}</span></h1>
<p class="facts">gue-director ${version} · up ${duration(uptime)} · generation ${generation} · process ${pid} · <code>${config}</code></p>`;
}

const TONES: Readonly<Record<Note['level'], 'good' | 'warn' | 'bad'>> = { info: 'good', warn: 'warn', error: 'bad' };

function notesOf(status: Status): Html | null {
  const notes = [...conditionNotes(status), ...directorNotes(status), ...backendNotes(status), ...lostNotes(status)];
  if (notes.length === 0) return null;
  return html`<ul class="notes" aria-label="What needs attention">${notes.map(({ level, text }) => html`<li class="${level}">${stateOf(TONES[level], text)}</li>`)}</ul>`;
}

function cards({ packets }: Status): readonly Html[] {
  return DESCRIPTIONS.map(
    ([
      key,
      name,
      text,
    ]) => html`<figure class="card ${key}"><figcaption><b>${name}</b> <span class="more">${text}</span></figcaption>
<p class="now" data-series="all ${key}" data-unit="packets" data-count="${packets[key]}" data-chart></p>
<p class="total">${grouped(packets[key])} since the start</p></figure>`,
  );
}

function processOf(status: Status): Html {
  const { reload, discovery } = status;
  const note = flowTableNote(status);
  const files = discovery.map(
    ({ file, backends, age }) =>
      html`<li>${file}: ${backends} backends${age === null ? ', never right' : `, as it was ${duration(age)} ago`}</li>`,
  );
  return html`${threadsTable(status.threads)}
<ul class="facts"><li>${note.text}</li><li>configuration in force: digest <code>${reload.digest}</code></li>${files}</ul>`;
}
