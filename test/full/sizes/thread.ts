// A thread of the fuzz line: runs its share of the rounds and reports.

import { parentPort, workerData } from 'node:worker_threads';
import { runShare, type Share } from '../fuzz-sizes.ts';

parentPort?.postMessage(runShare(workerData as Share));
