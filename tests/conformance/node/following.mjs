// The npm clients graphql-ws and graphql-sse follow a service through broken connections, and say what they heard.
//
// process.argv[2] is JSON: `kind` (ws or sse), `url`, `token`, `query`, `variables`, `last` (how many to hear, 0 for as
// long as it goes), `attempts` (how often to come again). The query's root has a position, with which it goes on.
import { createClient as overEvents } from 'graphql-sse';
import { createClient as overSockets } from 'graphql-ws';
import WebSocket from 'ws';

const { kind, url, token, query, variables, last, attempts } = JSON.parse(process.argv[2]);
const authorization = `Bearer ${token}`;
const soon = () => new Promise((resolve) => setTimeout(resolve, 20));
const seen = { heard: [], connections: 0, ended: null };
const connected = () => (seen.connections += 1);
const client =
  kind === 'ws'
    ? overSockets({
        url,
        webSocketImpl: WebSocket,
        connectionParams: { authorization },
        retryAttempts: attempts,
        retryWait: soon,
        shouldRetry: () => true, // a handshake that breaks is no close event, and else the end
        on: { connected },
      })
    : overEvents({ url, headers: { authorization }, retryAttempts: attempts, retry: soon, on: { connected } });

// Both clients send this very object when they connect anew, so what is written into it is where they go on.
const request = { query, variables };
await new Promise((resolve) => {
  const stop = client.subscribe(request, {
    next: ({ data, errors }) => {
      if (errors) seen.heard.push(...errors.map((error) => error.extensions.code));
      const [told] = Object.values(data ?? {});
      if (!told) return;
      seen.heard.push(...(told.edges ?? [told]));
      request.variables = { ...request.variables, after: told.position };
      if (last && seen.heard.length >= last) stop();
    },
    error: (reason) => {
      seen.ended = { code: reason.code ?? reason.response?.status ?? null, reason: reason.reason ?? reason.message };
      resolve();
    },
    complete: resolve,
  });
});
client.dispose();
console.log(JSON.stringify(seen));
