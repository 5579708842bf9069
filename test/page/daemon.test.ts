// The status page of a forwarding director, asked over its admin socket: what a state on a stage can not show.

import assert from 'node:assert/strict';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { buildLab, configuration, RunningDirector, sendDatagrams } from '../daemon/running-director.ts';
import { needs } from '../needs.ts';
import { openBrowser, textOf, watchedPage } from './browser.ts';

/** A port on loopback that leads to the socket: a browser speaks no unix socket, and the director's own port is in its namespace. */
async function doorTo(t: TestContext, path: string): Promise<string> {
  const door = createServer((client) => {
    const inside = connect(path);
    for (const end of [client, inside]) end.on('error', () => [client, inside].map((one) => one.destroy()));
    client.pipe(inside).pipe(client);
  });
  t.after(() => door.close());
  await new Promise<void>((done) => door.listen(0, '127.0.0.1', done));
  return `http://127.0.0.1:${(door.address() as AddressInfo).port}`;
}

test(
  'its counters, its events, and where a flow goes that it has forwarded',
  needs('namespaces', 'tun', 'chromium'),
  async (t) => {
    const lab = buildLab(t, 2);
    const director = await RunningDirector.start(t, lab, configuration(lab));
    const browser = await openBrowser();
    t.after(() => browser.close());
    const { page, problems } = await watchedPage(browser);
    await page.goto(`${await doorTo(t, join(lab.director.runtimeDirectory, 'admin.sock'))}/`);
    assert.equal(await textOf(page.locator('#services tbody tr').first().locator('td').nth(4)), '0');
    sendDatagrams(lab, lab.vip4, 53, 30, 2);
    const received = page.locator('#services tr', { has: page.locator('[data-series="service dns-4"][data-count="60"]') });
    await received.waitFor({ timeout: 8000 });
    assert.match(await textOf(received), /^dns-4\s+over-6\s+● ready/);
    assert.match(await textOf(page.locator('#events')), /● info\s+ready/);
    const told = JSON.parse(director.get('/-/status').body) as { packets: { forwarded: number } };
    assert.match(await textOf(page.locator('.card.forwarded .total')), new RegExp(`^${told.packets.forwarded} since the start$`));

    await page.getByLabel('Flow, or a packet').fill(`udp ${lab.client.address4}:40000 ${lab.vip4}:53`);
    await page.getByRole('button', { name: 'Explain' }).click();
    await page.locator('#answer .verdict').waitFor();
    assert.match(await textOf(page.locator('#answer .verdict')), /● forwarded to over-6\/worker-[12] \(/);
    assert.deepEqual(problems, []);

    // curl and probes get text, from the same place.
    assert.match(director.get('/').body, /^gue-director .*\n\n\/metrics /);
    assert.equal(await director.actor.stop(), 0, director.actor.words);
  },
);
