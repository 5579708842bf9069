// The status page, alive. It asks for the page it stands on again, and takes over what has changed: the tables are drawn in one place, by the director.
// Of the counters that the page carries in `data-count` it makes rates, and of the rates of the last five minutes charts.

const EVERY = 2000;
/** A director with very many backends is not kept busy by those who watch it: the pause is so many times as long as the answer took. */
const REST = 10;
const PATIENCE = 10_000;
const SPAN = 300_000;
const SVG = 'http://www.w3.org/2000/svg';
/** Fewer backends than this are seen at one glance. */
const WORTH_FILTERING = 8;

/**
 * @typedef {{ at: number, count: number, points: { at: number, rate: number }[] }} Series
 */

/** @type {Map<string, Series>} */
const courses = new Map();
let process = document.documentElement.dataset.process;
const version = document.documentElement.dataset.version;

let isPaused = false;
let isAsking = false;
let isLost = false;
let took = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/** @param {string} id @returns {HTMLElement} */
function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}

const freshness = byId('freshness');
const pause = byId('pause');
const said = byId('said');
const filter = /** @type {HTMLInputElement} */ (byId('filter'));
const form = /** @type {HTMLFormElement} */ (byId('question'));

/** 12345 → `12.3 k`. @param {number} value */
function short(value) {
  if (value === 0) return '0';
  if (value < 9.95) return value.toFixed(1);
  const units = ['', ' k', ' M', ' G', ' T'];
  let unit = 0;
  let left = value;
  while (left >= 999.5 && unit < units.length - 1) {
    left /= 1000;
    unit++;
  }
  return (left < 99.95 && unit > 0 ? left.toFixed(1) : left.toFixed(0)) + units[unit];
}

const clock = () => new Date().toLocaleTimeString();

/** Counter → rate since the look before; null for the first look. @param {string} name @param {number} count @param {number} now */
function look(name, count, now) {
  const course = courses.get(name);
  if (course === undefined || count < course.count || now <= course.at) {
    courses.set(name, { at: now, count, points: [] });
    return null;
  }
  const rate = (1000 * (count - course.count)) / (now - course.at);
  course.at = now;
  course.count = count;
  course.points.push({ at: now, rate });
  while (course.points[0].at < now - SPAN) course.points.shift();
  return course;
}

/**
 * The course of a rate as a line with its area, stretched to whatever size the style gives it. Zero is the bottom, the most is the top.
 * @param {Document} page @param {Series} course @param {number} now @param {string} kind
 */
function drawing(page, { points }, now, kind) {
  const most = Math.max(...points.map(({ rate }) => rate), Number.MIN_VALUE);
  const svg = page.createElementNS(SVG, 'svg');
  svg.setAttribute('class', kind);
  svg.setAttribute('viewBox', '0 0 300 100');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const places = points.map(
    ({ at, rate }) => `${(300 * (1 + (at - now) / SPAN)).toFixed(1)} ${(97 - (94 * rate) / most).toFixed(1)}`,
  );
  const first = (300 * (1 + (points[0].at - now) / SPAN)).toFixed(1);
  for (const [name, d] of [
    ['area', `M${first} 97L${places.join('L')}V97Z`],
    ['line', `M${places.join('L')}`],
  ]) {
    const path = page.createElementNS(SVG, 'path');
    path.setAttribute('class', name);
    path.setAttribute('d', d);
    svg.append(path);
  }
  return svg;
}

/** @param {Document} page @param {string} kind @param {string} text */
function words(page, kind, text) {
  const span = page.createElement('span');
  span.className = kind;
  span.textContent = text;
  return span;
}

/** Writes rates and charts where `page` has counters. @param {Document} page @param {number} now */
function measure(page, now) {
  for (const cell of /** @type {NodeListOf<HTMLElement>} */ (page.querySelectorAll('[data-series]'))) {
    const { series = '', count = '0', chart, spark, unit = '' } = cell.dataset;
    const course = look(series, Number(count), now);
    if (course === null) {
      if (chart === undefined) cell.textContent = '–';
      continue;
    }
    const { points } = course;
    const rate = words(page, 'rate', short(points[points.length - 1].rate));
    if (chart !== undefined) {
      const most = Math.max(...points.map((point) => point.rate));
      const axis = words(page, 'axis', '');
      axis.append(words(page, '', '5 min ago'), words(page, '', `most ${short(most)}/s`), words(page, '', 'now'));
      cell.replaceChildren(rate, words(page, 'unit', ` ${unit}/s`), drawing(page, course, now, 'chart'), axis);
    } else if (spark !== undefined) cell.replaceChildren(drawing(page, course, now, 'spark'), rate);
    else cell.replaceChildren(rate);
  }
}

/** Makes `old` like `next`, touching what differs: focus, selection and scrolling stay. @param {Node} old @param {Node} next */
function become(old, next) {
  if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName) {
    /** @type {ChildNode} */ (old).replaceWith(next);
    return;
  }
  if (!(old instanceof Element) || !(next instanceof Element)) {
    if (old.nodeValue !== next.nodeValue) old.nodeValue = next.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const wanted = [...next.childNodes];
  while (old.childNodes.length > wanted.length) old.lastChild?.remove();
  wanted.forEach((child, i) => {
    if (i < old.childNodes.length) become(old.childNodes[i], child);
    else old.append(child);
  });
}

/** Hides backends that do not have the words that were typed; says how many are left. @param {Document} page */
function sift(page) {
  const asked = filter.value.trim().toLowerCase().split(/\s+/);
  const rows = /** @type {HTMLElement[]} */ ([...page.querySelectorAll('tr[data-words]')]);
  let shown = 0;
  for (const row of rows) {
    const has = (row.dataset.words ?? '').toLowerCase();
    row.hidden = !asked.every((word) => has.includes(word));
    if (!row.hidden) shown++;
  }
  for (const pool of /** @type {NodeListOf<HTMLElement>} */ (page.querySelectorAll('[data-part=pools] > section'))) {
    const own = /** @type {HTMLElement[]} */ ([...pool.querySelectorAll('tr[data-words]')]);
    pool.hidden = own.length > 0 && own.every((row) => row.hidden);
  }
  const text = filter.value.trim() === '' ? '' : `${shown} of ${rows.length}`;
  if (byId('filtered').textContent !== text) byId('filtered').textContent = text;
  const box = filter.closest('p');
  if (box !== null) box.hidden = rows.length < WORTH_FILTERING && filter.value === '';
}

/** What a page says, without its durations and shares: they change with every look. @param {Document} page */
function state(page) {
  const text = (/** @type {Element | null} */ element) => (element?.textContent ?? '').replace(/[▲●✕]/g, '').trim();
  const notes = [...page.querySelectorAll('.notes li')].map(text);
  return {
    ready: text(page.querySelector('#state')),
    notes: new Map(notes.map((note) => [note.replace(/[\d.,]+ (?:d|h|min|s|%)/g, ''), note])),
  };
}

/** Tells a screen reader what has changed, and nothing else. @param {ReturnType<typeof state>} before @param {ReturnType<typeof state>} after */
function announce(before, after) {
  const news = before.ready === after.ready ? [] : [`now ${after.ready}`];
  for (const [key, note] of after.notes) if (!before.notes.has(key)) news.push(note);
  for (const [key, note] of before.notes) if (!after.notes.has(key)) news.push(`no longer: ${note}`);
  if (news.length === 0) return;
  said.textContent = news.length > 4 ? `${news.slice(0, 4).join('. ')}, and ${news.length - 4} more` : news.join('. ');
}

/** @param {string} address @returns {Promise<Document>} */
async function ask(address) {
  const response = await fetch(address, {
    headers: { accept: 'text/html' },
    cache: 'no-store',
    signal: AbortSignal.timeout(PATIENCE),
  });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return new DOMParser().parseFromString(await response.text(), 'text/html');
}

/** @param {Document} page */
function show(page) {
  const now = performance.now();
  const { process: other, version: running } = page.documentElement.dataset;
  if (running !== version) {
    // Another program makes the page now: this script may not be its script.
    location.reload();
    return;
  }
  if (other !== process) {
    process = other;
    courses.clear();
  }
  measure(page, now);
  sift(page);
  const [before, after] = [state(document), state(page)];
  for (const old of document.querySelectorAll('[data-part]')) {
    const next = page.querySelector(`[data-part="${old.getAttribute('data-part')}"]`);
    if (next !== null) become(old, next);
  }
  document.title = page.title;
  announce(before, after);
}

async function refresh() {
  if (isAsking) return;
  clearTimeout(timer);
  isAsking = true;
  const since = performance.now();
  try {
    const page = await ask('ui');
    took = performance.now() - since;
    show(page);
    if (isLost) said.textContent = 'The director answers again.';
    isLost = false;
    freshness.textContent = isPaused ? `Paused at ${clock()}` : `Live, updated ${clock()}`;
  } catch (error) {
    if (!isLost) {
      freshness.textContent = `No answer since ${clock()} (${error instanceof Error ? error.message : error}), asked on. What you see is older.`;
      said.textContent = 'The director does not answer.';
    }
    isLost = true;
  }
  freshness.className = isLost ? 'lost' : '';
  isAsking = false;
  document.documentElement.dataset.looks = String(Number(document.documentElement.dataset.looks ?? 0) + 1);
  plan();
}

function plan() {
  clearTimeout(timer);
  if (!isPaused && document.visibilityState === 'visible') timer = setTimeout(refresh, Math.max(EVERY, REST * took));
}

pause.addEventListener('click', () => {
  isPaused = !isPaused;
  pause.textContent = isPaused ? 'Resume' : 'Pause';
  freshness.textContent = isPaused ? `Paused at ${clock()}` : freshness.textContent;
  if (isPaused) clearTimeout(timer);
  else refresh();
});

document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'hidden') clearTimeout(timer);
  else if (!isPaused) refresh();
});

filter.addEventListener('input', () => sift(document));

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form))
    if (typeof value === 'string' && value.trim() !== '') query.set(name, value.trim());
  const answer = byId('answer');
  answer.setAttribute('aria-busy', 'true');
  try {
    const page = await ask(`ui?${query}`);
    // So that the answer can be sent to somebody as a link.
    history.replaceState(null, '', `ui?${query}#explain`);
    const [asked, told] = [page.getElementById('question'), page.getElementById('answer')];
    if (asked === null || told === null) throw new Error('this is no status page');
    become(form, asked);
    answer.replaceChildren(...told.childNodes);
    const problem = document.getElementById('problem');
    if (problem === null) answer.focus();
    else {
      said.textContent = problem.textContent;
      byId('flow').focus();
    }
  } catch (error) {
    answer.textContent = `No answer: ${error instanceof Error ? error.message : error}`;
    said.textContent = answer.textContent;
  }
  answer.removeAttribute('aria-busy');
});

document.documentElement.classList.add('scripted');
pause.hidden = false;
freshness.textContent = 'Live';
measure(document, performance.now());
sift(document);
plan();
