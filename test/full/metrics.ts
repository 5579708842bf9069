// The metrics of a running director, read over its unix socket as a scrape would.

import { request } from 'node:http';

/** By name with labels. Rejects when nobody answers. */
export function metrics(socket: string): Promise<Map<string, number>> {
  return new Promise((done, fail) => {
    request({ socketPath: socket, path: '/metrics', agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('error', fail);
      response.on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => {
        const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
        done(new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))])));
      });
    })
      .on('error', fail)
      .end();
  });
}
