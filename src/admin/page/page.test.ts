import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../../test/property.ts';
import { queryOf } from './explain-box.ts';
import { bytesText, grouped } from './figures.ts';
import { escapeHtml, html } from './html.ts';
import { wantsPage } from './routes.ts';

test('what fills a template is text: it can neither open a tag nor leave an attribute, and reads back as it was', () => {
  const back = (text: string) =>
    text.replace(/&(amp|lt|gt|quot|#39);/g, (_, name: string) => ({ amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" })[name]!);
  fc.assert(
    fc.property(fc.string(), (text) => {
      const escaped = escapeHtml(text);
      assert.doesNotMatch(escaped, /[<>"']/);
      assert.equal(back(escaped), text);
    }),
  );
  assert.equal(
    html`<p title="${'"<'}">${['a', html`<b>${'&'}</b>`, null, false, 7]}</p>`.text,
    '<p title="&quot;&lt;">a<b>&amp;</b>7</p>',
  );
});

test('only who asks for HTML by name gets the page in place of the text', () => {
  assert.ok(wantsPage('text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'));
  assert.ok(wantsPage('application/json, text/HTML;q=0.5'));
  for (const accept of [undefined, '', '*/*', 'text/plain', 'text/*', 'application/json', 'text/html;q=0', 'text/html; q=0.000'])
    assert.equal(wantsPage(accept), false, String(accept));
});

test('digits alone are a packet, everything else a flow; empty fields are not asked about', () => {
  const none = { flow: '', flags: '', length: '', without: '' };
  assert.equal(queryOf({ ...none, flow: '  ', flags: 'syn' }), null);
  const packet = '4500 0028 0001 4000 4006 0000 c000 0207 c633 6401 9c40 01bb';
  assert.equal(
    String(queryOf({ ...none, flow: packet, flags: 'syn', without: 'a/b' })),
    `packet=${packet.replaceAll(' ', '')}&without=a%2Fb`,
  );
  const flow = '47 2001:db8:0000:0000:0000::1 2001:db8:0000:0000:0000::2';
  assert.deepEqual(
    [...queryOf({ ...none, flow: ` ${flow} `, length: '1800' })!],
    [
      ['flow', flow],
      ['length', '1800'],
    ],
  );
});

test('numbers for people', () => {
  assert.equal(grouped(1_234_567), '1,234,567');
  assert.deepEqual([0, 999, 1000, 71_640_021, 999_999].map(bytesText), ['0 bytes', '999 bytes', '1.00 kB', '71.6 MB', '1.00 MB']);
});
