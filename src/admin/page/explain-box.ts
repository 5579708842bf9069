/** The box that a packet is asked about in, and its trail, drawn: a form that works without a script, and the answer under it. */
import type { Answer } from '../../explain/answer.ts';
import { bytesOf, partsOf } from '../../explain/packet-drawing.ts';
import type { SentStep, Trail } from '../../explain/trail.ts';
import { headlineOf, type StoryStep, storyOf, tunnelLengthText, withoutText } from '../../explain/trail-story.ts';
import type { Status } from '../status.ts';
import { grouped } from './figures.ts';
import { type Html, html } from './html.ts';
import { stateOf } from './tables.ts';

/** What was typed, as it was typed; all empty when nothing is asked. */
export interface Question {
  readonly flow: string;
  readonly flags: string;
  readonly length: string;
  readonly without: string;
}

export type Told = { readonly answer: Answer } | { readonly problem: string; readonly hint: string };

/** Backends that are offered to choose from; more can be typed. */
const MOST_OFFERED = 500;

/** The question as /-/explain reads it; null when nothing is asked. A packet in hexadecimal digits is no flow: it has neither words nor dots. */
export function queryOf(question: Question): URLSearchParams | null {
  const { flow, flags, length, without } = question;
  if (flow.trim() === '') return null;
  const digits = flow.replace(/\s+/g, '');
  const isPacket = /^(0x)?[0-9a-f]{40,}$/i.test(digits);
  const query = new URLSearchParams(isPacket ? { packet: digits } : { flow: flow.trim() });
  for (const [name, value] of [
    ['flags', isPacket ? '' : flags],
    ['length', isPacket ? '' : length],
    ['without', without],
  ])
    if (value.trim() !== '') query.set(name, value.trim());
  return query;
}

export function explainBox(status: Status, question: Question, told: Told | null): Html {
  const problem = told !== null && 'problem' in told ? told : null;
  const offered = status.backends.slice(0, MOST_OFFERED).map(({ pool, name }) => html`<option value="${pool}/${name}"></option>`);
  const wrong = problem === null ? null : html` aria-invalid="true"`;
  return html`<form id="question" action="ui#explain" method="get">
<p class="field wide"><label for="flow">Flow, or a packet in hexadecimal digits</label>
<input id="flow" name="flow" value="${question.flow}" required autocomplete="off" autocapitalize="none" spellcheck="false" aria-describedby="${problem === null ? '' : 'problem '}flow-form"${wrong}>
<span class="more" id="flow-form">tcp 192.0.2.7:40000 198.51.100.1:443</span></p>
<p class="field"><label for="flags">TCP flags</label><input id="flags" name="flags" value="${question.flags}" placeholder="ack" autocomplete="off" autocapitalize="none" spellcheck="false"></p>
<p class="field"><label for="length">Bytes</label><input id="length" name="length" value="${question.length}" inputmode="numeric" pattern="[0-9]{1,5}" autocomplete="off" placeholder="40"></p>
<p class="field name"><label for="without">What if without</label><input id="without" name="without" value="${question.without}" list="backends-offered" placeholder="pool/backend" autocomplete="off" autocapitalize="none" spellcheck="false"></p>
<datalist id="backends-offered">${offered}</datalist>
<p class="field"><button>Explain</button></p>
</form>
<div id="answer" tabindex="-1">${told === null ? null : problem !== null ? problemOf(problem) : answerOf((told as { answer: Answer }).answer)}</div>`;
}

function problemOf({ problem, hint }: { problem: string; hint: string }): Html {
  return html`<div class="problem" id="problem"><p>${stateOf('bad', problem)}</p>${hint === '' ? null : html`<p class="more">${hint}</p>`}</div>`;
}

function answerOf(answer: Answer): Html {
  const { without } = answer;
  const other =
    without === undefined
      ? null
      : html`<p class="verdict">Without ${without.backend}: ${stateOf(without.moves ? 'warn' : 'good', withoutText(without))}</p>`;
  return html`${verdictOf(answer)}${other}
<ol class="trail">${storyOf(answer).map((step) => stepOf(step))}</ol>
${answer.sent === null ? null : packetPicture(answer.sent)}`;
}

function verdictOf(trail: Trail): Html {
  const { about, outcome, rest } = headlineOf(trail);
  const tone = trail.verdict === 'forward' ? 'good' : trail.verdict === 'drop' ? 'bad' : 'warn';
  return html`<p class="verdict"><code>${about}</code> ${stateOf(tone, outcome)}${rest}</p>`;
}

function stepOf({ stage, lines: [first, ...more] }: StoryStep): Html {
  const rest = more.length === 0 ? null : html`<ul>${more.map((line) => html`<li>${line}</li>`)}</ul>`;
  return html`<li class="step ${stage}"><h3>${stage}</h3><div><p>${first}</p>${rest}</div></li>`;
}

/** A class for each kind of header, so that box and bytes of one look alike. */
const KINDS: Readonly<Record<string, string>> = {
  'outer IP': 'outer',
  UDP: 'udp',
  GUE: 'tunnel',
  GRE: 'tunnel',
  'inner IP': 'inner',
};

/** The first packet that leaves: its headers as boxes with their offsets, then the bytes of each. */
function packetPicture(sent: SentStep): Html {
  const kind = (name: string) => KINDS[name] ?? 'payload';
  const boxes = partsOf(sent).map(
    ({ name, at, end }) =>
      html`<li class="${kind(name)}"><b>${name}</b><span>${grouped(end - at)} bytes</span><span class="at">from ${at}</span></li>`,
  );
  const rows = bytesOf(sent).map(({ part, at, bytes, left }) => {
    const more = left > 0 ? html`<span class="more">… ${grouped(left)} more bytes</span>` : null;
    return html`<tr class="${kind(part.name)}"><td class="number">${at}</td><td><code>${bytes.join(' ')}</code>${more}</td><td>${at === part.at ? part.name : null}</td></tr>`;
  });
  return html`<h3>The packet that leaves${sent.lengths.length > 1 ? ', the first of them' : null}</h3>
<p class="facts">${tunnelLengthText(sent.tunnelLength)} · ${grouped(sent.offsets.end)} bytes in all</p>
<ol class="boxes">${boxes}</ol>
<div class="scroll" role="group" tabindex="0" aria-label="Bytes of the packet that leaves"><table class="bytes">
<thead><tr><th scope="col" class="number">Offset</th><th scope="col">Bytes</th><th scope="col">Header</th></tr></thead>
<tbody>${rows}</tbody></table></div>`;
}
