/** `node fetch.js <url> <seconds>`: asks until the answer is 200 or the time is over, then prints the body. What `curl --retry` would do. */
const [url, seconds] = [process.argv[2], Number(process.argv[3] ?? 5)];
const end = performance.now() + seconds * 1000;
let last = '';
for (;;) {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2000) });
    const body = await response.text();
    if (response.status === 200) {
      process.stdout.write(body);
      break;
    }
    last = `HTTP ${response.status}: ${body.trim()}`;
  } catch (error) {
    const cause = (error as { cause?: Error }).cause;
    last = cause?.message ?? (error as Error).message;
  }
  if (performance.now() > end) {
    process.stderr.write(`${url}: ${last}\n`);
    process.exitCode = 1;
    break;
  }
  await new Promise((resolve) => setTimeout(resolve, 40));
}
