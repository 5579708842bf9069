// fast-check, with the gate's seed. At home each run of a property draws cases of its own, and a failure prints the seed that repeats
// it; the gate (.ci/run) sets one seed, so that it judges the change and not the draw of the day.

import fc from 'fast-check';

const seed = process.env.GUE_DIRECTOR_SEED;
if (seed !== undefined) fc.configureGlobal({ seed: Number(seed) });

export default fc;
