import { BROKEN_LABS } from './broken/index.ts';
import { Scene } from './broken/scene.ts';
import { firstScreen } from './broken/screen.ts';
const words = process.argv.slice(2);
const chosen = BROKEN_LABS.filter(({ cause }) => words.length === 0 || words.some((w) => cause.includes(w)));
const t0 = performance.now();
const at = () => `${((performance.now() - t0) / 1000).toFixed(1)} s`;
const scene = await Scene.open(chosen.some((l) => l.kernelWorker));
console.log('open', at());
try {
  for (const lab of chosen) {
    console.log(`\n=== ${lab.cause}`, at());
    console.log('before:', await lab.client(scene));
    await lab.break(scene);
    console.log('broken:', await lab.client(scene), at());
    const { code, output } = await scene.program(lab.at, lab.command(scene));
    console.log(firstScreen(output), code, at());
    for (const n of lab.names) if (!n.test(firstScreen(output))) console.log('MISSING', n);
    console.log('mend:', await lab.mend(scene, output));
    for (let i = 0; i < 5; i++) { const a = await lab.client(scene); console.log('after:', a, at()); if (a.startsWith('fine')) break; }
    await lab.restore?.(scene);
  }
} finally { await scene.close(); }
