/** Services, pools with their backends, drops, threads and events, each as one table that scrolls in itself. */
import { duration } from '../../base/duration.ts';
import type { JournalEvent } from '../../observe/events.ts';
import type { Status, StatusBackend, StatusPool, StatusThread } from '../status.ts';
import { pathCause, weightText } from '../status-words.ts';
import { bytesText, grouped, percentText, timeText } from './figures.ts';
import { type Filling, type Html, html } from './html.ts';

type Tone = 'good' | 'warn' | 'bad';

const SIGNS: Readonly<Record<Tone, string>> = { good: '●', warn: '▲', bad: '✕' };

/** A word with its sign: colour is never the only one. */
export function stateOf(tone: Tone, word: string): Html {
  return html`<span class="state ${tone}"><span aria-hidden="true">${SIGNS[tone]}</span> ${word}</span>`;
}

interface Column {
  readonly name: string;
  /** `number`: to the right. `live`: filled by the script, not there without it. */
  readonly kind?: 'number' | 'live';
}

function table(name: string, columns: readonly Column[], rows: readonly Html[]): Html {
  const heads = columns.map(({ name: head, kind }) => html`<th scope="col"${kind ? html` class="${kind}"` : null}>${head}</th>`);
  return html`<div class="scroll" role="group" tabindex="0" aria-label="${name}"><table>
<thead><tr>${heads}</tr></thead>
<tbody>${rows}</tbody>
</table></div>`;
}

/**
 * A cell for a rate. The script finds `data-series`, keeps `data-count` of each look, and writes the difference. `data-spark`: with its course over the last
 * minutes.
 */
function rateCell(series: string, count: number, unit: 'packets' | 'bits', spark = false): Html {
  return html`<td class="live" data-series="${series}" data-unit="${unit}" data-count="${count}"${spark ? html` data-spark` : null}></td>`;
}

const number = (text: Filling) => html`<td class="number">${text}</td>`;

export function servicesTable({ services }: Status): Html {
  if (services.length === 0) return html`<p class="none">The configuration has no service.</p>`;
  const rows = services.map(
    ({ name, pool, ready, packets, bytes }) => html`<tr>
<th scope="row">${name}</th><td><a href="#pool-${pool}">${pool}</a></td>
<td>${ready.ok ? stateOf('good', 'ready') : stateOf('bad', 'not ready')}</td>
${rateCell(`service ${name}`, packets, 'packets', true)}${rateCell(`service ${name} bits`, 8 * bytes, 'bits')}
${number(grouped(packets))}${number(bytesText(bytes))}</tr>`,
  );
  const columns: Column[] = [
    { name: 'Service' },
    { name: 'Pool' },
    { name: 'State' },
    { name: 'Packets/s', kind: 'live' },
    { name: 'Bits/s', kind: 'live' },
    { name: 'Packets', kind: 'number' },
    { name: 'Bytes', kind: 'number' },
  ];
  return table('Services', columns, rows);
}

/** One pool: what its table is, who has which part of it, and each backend. */
export function poolSection(pool: StatusPool, status: Status): Html {
  const backends = status.backends.filter((backend) => backend.pool === pool.name);
  const { name, scheme, tableSize, digest, health } = pool;
  const good =
    health === null
      ? null
      : html` · ${health.belowMinimum ? stateOf('bad', `${health.good} of ${health.of} good, ${health.wanted} needed`) : `${health.good} of ${health.of} good`}`;
  return html`<section id="pool-${name}" aria-labelledby="pool-name-${name}">
<h3 id="pool-name-${name}">${name}</h3>
<p class="facts">${scheme} · ${grouped(tableSize)} slots · digest <code>${digest}</code>${good}</p>
${slotsBar(backends)}
${backendsTable(name, backends)}
</section>`;
}

const WIDTH = 1000;

/** The table's slots, a part for each backend in the order of the rows below; the rows say it in numbers. */
function slotsBar(backends: readonly StatusBackend[]): Html {
  let at = 0;
  const parts = backends
    .filter(({ share }) => share > 0)
    .map(({ name, share }, i) => {
      const width = share * WIDTH;
      const part = html`<rect class="part${i % 2 === 0 ? '' : ' other'}" x="${at.toFixed(2)}" y="0" width="${width.toFixed(2)}" height="10"><title>${name}: ${percentText(share)}</title></rect>`;
      at += width;
      return part;
    });
  return html`<svg class="slots" viewBox="0 0 ${WIDTH} 10" preserveAspectRatio="none" aria-hidden="true">${parts}</svg>`;
}

function backendsTable(pool: string, backends: readonly StatusBackend[]): Html {
  if (backends.length === 0) return html`<p class="none">The pool has no backend.</p>`;
  const hasPaths = backends.some(({ pathMtu }) => pathMtu !== null);
  const wanted = backends.reduce((sum, { effectiveWeight }) => sum + effectiveWeight, 0);
  const rows = backends.map((backend) => {
    const { name, address, encapsulation, ports, share, packets, bytes, effectiveWeight } = backend;
    return html`<tr data-words="${pool}/${name} ${address} ${backend.state}">
<th scope="row">${name}</th><td>${address}<span class="more">${[encapsulation, ...ports].join(' ')}</span></td>
<td>${backendState(backend)}</td>${number(weightText(backend))}
<td>${shareBar(share, wanted === 0 ? 0 : effectiveWeight / wanted)}</td>
${rateCell(`backend ${pool}/${name}`, packets, 'packets', true)}${rateCell(`backend ${pool}/${name} bits`, 8 * bytes, 'bits')}
${number(grouped(packets))}${number(bytesText(bytes))}${hasPaths ? pathCell(backend) : null}</tr>`;
  });
  const columns: Column[] = [
    { name: 'Backend' },
    { name: 'Address' },
    { name: 'State' },
    { name: 'Weight', kind: 'number' },
    { name: 'Share of slots' },
    { name: 'Packets/s', kind: 'live' },
    { name: 'Bits/s', kind: 'live' },
    { name: 'Packets', kind: 'number' },
    { name: 'Bytes', kind: 'number' },
    ...(hasPaths ? [{ name: 'Path MTU' }] : []),
  ];
  return table(`Backends of ${pool}`, columns, rows);
}

/** The bar is the share it has, the mark what its weight asks for. */
function shareBar(share: number, wanted: number): Html {
  const mark =
    wanted === 0 ? null : html`<rect class="mark" x="${Math.min(99, 100 * wanted).toFixed(2)}" width="1" height="10"/>`;
  return html`<span class="share"><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="rail" width="100" height="10"/><rect class="part" width="${(100 * share).toFixed(2)}" height="10"/>${mark}</svg>${percentText(share)}</span>`;
}

function backendState({ state, drain, health }: StatusBackend): Html {
  const tone: Tone = state === 'active' ? 'good' : state === 'draining' ? 'warn' : 'bad';
  const more: string[] = [];
  if (drain !== null) {
    const { age, downIn } = drain;
    more.push(
      `for ${duration(age)}${downIn === null ? '' : downIn === 0 ? ', deadline passed' : `, down in ${duration(downIn)}`}`,
    );
  }
  if (health !== null) {
    if (health.up) more.push(health.share === 1 ? `up ${duration(health.age)}` : `starts slowly, ${percentText(health.share)}`);
    else more.push(`checks bad for ${duration(health.age)}${health.serves ? ', used nonetheless' : ''}`);
    for (const { check, good, detail, milliseconds } of health.checks)
      more.push(
        `${check} ${good ? 'good' : 'bad'}${!good && detail !== null ? `: ${detail}` : milliseconds === null ? '' : `, ${milliseconds} ms`}`,
      );
  }
  return html`${stateOf(tone, state)}${more.map((text) => html`<span class="more">${text}</span>`)}`;
}

function pathCell({ pathMtu }: StatusBackend): Html {
  if (pathMtu === null || pathMtu.bytes === 0) return html`<td>${stateOf('bad', 'no route')}</td>`;
  return html`<td>${pathMtu.bytes}, inner ${pathMtu.innerBytes}<span class="more">${pathCause(pathMtu)}</span></td>`;
}

export function dropsTable({ drops }: Status): Html {
  const reasons = Object.entries(drops).sort(([, a], [, b]) => b - a);
  if (reasons.length === 0) return html`<p class="none">No packet was dropped since the start.</p>`;
  const rows = reasons.map(
    ([reason, packets]) =>
      html`<tr><th scope="row">${reason}</th>${rateCell(`drop ${reason}`, packets, 'packets', true)}${number(grouped(packets))}</tr>`,
  );
  const columns: Column[] = [{ name: 'Dropped as' }, { name: 'Packets/s', kind: 'live' }, { name: 'Packets', kind: 'number' }];
  return table('Drops by reason', columns, rows);
}

export function threadsTable(threads: readonly StatusThread[]): Html {
  const rows = threads.map(
    ({ number: id, state, ingress, egress, received, failures, heartbeatAge }) => html`<tr>
<th scope="row">${id}</th><td>${stateOf(state === 'forwarding' ? 'good' : 'bad', state)}</td>
<td>${ingress || '–'}</td><td>${egress || '–'}</td>
${rateCell(`thread ${id}`, received, 'packets', true)}${number(grouped(received))}${number(failures)}${number(`${heartbeatAge} s ago`)}</tr>`,
  );
  const columns: Column[] = [
    { name: 'Thread' },
    { name: 'State' },
    { name: 'Ingress' },
    { name: 'Egress' },
    { name: 'Packets/s', kind: 'live' },
    { name: 'Received', kind: 'number' },
    { name: 'Failures', kind: 'number' },
    { name: 'Heartbeat', kind: 'number' },
  ];
  return table('Forwarding threads', columns, rows);
}

const TONES: Readonly<Record<JournalEvent['level'], Tone>> = { info: 'good', warn: 'warn', error: 'bad' };
/** That are shown. */
export const MOST_EVENTS = 40;

/** The latest first. */
export function eventsTable(events: readonly JournalEvent[]): Html {
  if (events.length === 0) return html`<p class="none">Nothing has happened since the start.</p>`;
  const rows = events
    .slice(-MOST_EVENTS)
    .reverse()
    .map(
      ({ time, level, kind, text }) =>
        html`<tr><td><time datetime="${new Date(time).toISOString()}">${timeText(time)}</time></td><td>${stateOf(TONES[level], level)}</td><td><code>${kind}</code></td><td class="text">${text}</td></tr>`,
    );
  return table('Last events', [{ name: 'Time (UTC)' }, { name: 'Level' }, { name: 'Event' }, { name: 'What happened' }], rows);
}
