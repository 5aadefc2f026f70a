// The npm client graphql-ws against the WebSocket at process.argv[2]; prints what it saw as JSON.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const url = process.argv[2];
const opened = (token, more = {}) =>
  createClient({ url, webSocketImpl: WebSocket, connectionParams: { authorization: `Bearer ${token}` }, ...more });

const all = async (client, query) => {
  const results = [];
  for await (const result of client.iterate({ query })) results.push(result);
  return results;
};

const client = opened('front_desk');
const seen = { query: await all(client, '{ patient(id: "ann") { displayName } }') };
try {
  await all(client, '{ patient(id: "ann") { religion } }');
} catch (errors) {
  seen.forbidden = errors.map((error) => error.extensions.code);
}
seen.followed = await all(client, 'subscription { viewer }');
for await (const result of client.iterate({ query: 'subscription { viewer }' })) {
  seen.left = result;
  break;
}
await client.dispose();
try {
  await all(opened('nobody', { retryAttempts: 0 }), '{ __typename }');
} catch (closed) {
  seen.bad = [closed.code, closed.reason];
}
console.log(JSON.stringify(seen));
