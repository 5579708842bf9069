// Descriptors between two ends of a socket, and between two processes, in a real kernel.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CodedError } from '../base/errors.ts';
import { MOST_DESCRIPTORS, type Received, receiveWithDescriptors, sendWithDescriptors } from './descriptor-passing.ts';
import { closeDescriptor } from './file.ts';
import { NamespaceLock } from './namespace-lock.ts';
import { acceptUnix, connectUnix, listenUnix, peerOf, socketPair } from './unix-socket.ts';

async function received(socket: number): Promise<Received> {
  for (let tries = 0; tries < 5000; tries++) {
    const one = receiveWithDescriptors(socket);
    if (one !== null) return one;
    await sleep(1);
  }
  throw new Error('nothing came');
}

const code = (expected: string) => (error: unknown) => error instanceof CodedError && error.code === expected;

test('a descriptor arrives as another number for the same open file', (t) => {
  const [here, there] = socketPair();
  t.after(() => [here, there].forEach(closeDescriptor));
  const folder = mkdtempSync(join(tmpdir(), 'gd-descriptor-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = openSync(join(folder, 'file'), 'w+');
  t.after(() => closeSync(file));
  assert.equal(receiveWithDescriptors(there), null, 'nothing was sent yet');
  assert.equal(sendWithDescriptors(here, Uint8Array.of(1, 2, 3), [file]), 3);
  const { bytes, descriptors } = receiveWithDescriptors(there) as Received;
  assert.deepEqual([...bytes], [1, 2, 3]);
  assert.equal(descriptors.length, 1);
  const [other] = descriptors;
  assert.notEqual(other, file);
  // One open file: what one writes moves the other's position.
  writeSync(other, 'abc');
  assert.equal(fstatSync(file).size, 3);
  assert.equal(readSync(file, Buffer.alloc(3), 0, 3, null), 0, 'the position is shared');
  closeDescriptor(other);
});

test('as many as the kernel allows travel together, in order; more are refused', (t) => {
  const [here, there] = socketPair();
  t.after(() => [here, there].forEach(closeDescriptor));
  const folder = mkdtempSync(join(tmpdir(), 'gd-descriptor-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const files = Array.from({ length: MOST_DESCRIPTORS }, (_, i) => openSync(join(folder, String(i)), 'w'));
  t.after(() => files.forEach(closeSync));
  assert.equal(sendWithDescriptors(here, Uint8Array.of(7), files), 1);
  const { descriptors } = receiveWithDescriptors(there) as Received;
  t.after(() => descriptors.forEach(closeDescriptor));
  assert.deepEqual(
    descriptors.map((one) => fstatSync(one).ino),
    files.map((one) => fstatSync(one).ino),
  );
  assert.throws(() => sendWithDescriptors(here, Uint8Array.of(7), [...files, files[0]]), RangeError);
  assert.throws(() => sendWithDescriptors(here, new Uint8Array(0), files), RangeError);
});

test('groups of descriptors are never mixed, bytes without any go beside them', (t) => {
  const [here, there] = socketPair();
  t.after(() => [here, there].forEach(closeDescriptor));
  sendWithDescriptors(here, Uint8Array.of(1), [here]);
  sendWithDescriptors(here, Uint8Array.of(2), [here, there]);
  sendWithDescriptors(here, Uint8Array.of(3));
  const seen: [number[], number][] = [];
  for (let one = receiveWithDescriptors(there); one !== null; one = receiveWithDescriptors(there)) {
    seen.push([[...one.bytes], one.descriptors.length]);
    one.descriptors.forEach(closeDescriptor);
  }
  assert.deepEqual(
    seen.flatMap(([bytes]) => bytes),
    [1, 2, 3],
  );
  assert.deepEqual(
    seen.map(([, count]) => count).filter((count) => count > 0),
    [1, 2],
  );
});

test('a full socket takes nothing and says so; an end and a vanished peer are told apart from silence', (t) => {
  const [here, there] = socketPair();
  t.after(() => closeDescriptor(here));
  const block = new Uint8Array(60_000);
  let total = 0;
  for (let sent = 1; sent > 0; total += sent) sent = sendWithDescriptors(here, block);
  assert.ok(total > 0);
  assert.equal(sendWithDescriptors(here, block, [here]), 0);
  while (total > 0) total -= (receiveWithDescriptors(there) as Received).bytes.length;
  assert.equal(receiveWithDescriptors(there), null);
  sendWithDescriptors(there, Uint8Array.of(9));
  closeDescriptor(there);
  assert.equal((receiveWithDescriptors(here) as Received).bytes.length, 1);
  assert.equal((receiveWithDescriptors(here) as Received).bytes.length, 0, 'the end');
  assert.throws(() => sendWithDescriptors(here, block), code('GD_RAW_SOCKET_PEER_GONE'));
});

test('a pipe goes to another process, over a socket that only its owner may open', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gd-descriptor-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'hand-over.sock');
  const listener = listenUnix(path);
  t.after(() => closeDescriptor(listener));
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(acceptUnix(listener), -1, 'nobody came yet');
  assert.throws(() => listenUnix(path), /EADDRINUSE/);
  assert.throws(() => connectUnix(join(folder, 'nobody')), /ENOENT/);
  // The other process: receives the writing end of a pipe, writes its own process id into it, ends.
  const file = (name: string) => JSON.stringify(new URL(name, import.meta.url).href);
  const script = `
    const { connectUnix } = await import(${file('./unix-socket.ts')});
    const { receiveWithDescriptors } = await import(${file('./descriptor-passing.ts')});
    const { writeSync } = await import('node:fs');
    const socket = connectUnix(${JSON.stringify(path)});
    let got = null;
    while ((got = receiveWithDescriptors(socket)) === null) await new Promise((done) => setTimeout(done, 1));
    writeSync(got.descriptors[0], 'process ' + process.pid + ' says ' + new TextDecoder().decode(got.bytes));`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  let socket = -1;
  for (let tries = 0; socket < 0 && tries < 5000; tries++) {
    socket = acceptUnix(listener);
    if (socket < 0) await sleep(1);
  }
  assert.equal(peerOf(socket).process, child.pid);
  const [reading, writing] = socketPair();
  t.after(() => closeDescriptor(reading));
  sendWithDescriptors(socket, new TextEncoder().encode('hello'), [writing]);
  closeDescriptor(writing);
  const { bytes } = await received(reading);
  assert.equal(new TextDecoder().decode(bytes), `process ${child.pid} says hello`);
  // Its end was the last one open.
  assert.equal((await received(reading)).bytes.length, 0);
  assert.equal((await received(socket)).bytes.length, 0, 'the process has ended');
  closeDescriptor(socket);
});

test('the lock of a network namespace goes over without ever being free', () => {
  const name = `gue-director-test-${process.pid}`;
  const lock = NamespaceLock.take(name);
  assert.ok(lock !== null);
  const [here, there] = socketPair();
  sendWithDescriptors(here, Uint8Array.of(1), [lock.descriptor]);
  const { descriptors } = receiveWithDescriptors(there) as Received;
  const inherited = NamespaceLock.inherit(descriptors[0]);
  lock.release();
  assert.equal(NamespaceLock.take(name), null, 'still taken');
  assert.equal(NamespaceLock.holder(name)?.process, process.pid);
  inherited.release();
  const again = NamespaceLock.take(name);
  assert.ok(again !== null);
  again.release();
  [here, there].forEach(closeDescriptor);
});
