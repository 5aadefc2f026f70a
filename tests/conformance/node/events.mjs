// The npm client graphql-sse against the address at process.argv[2]; prints what it saw as JSON.
import { createClient } from 'graphql-sse';

const url = process.argv[2];
const opened = (token) =>
  createClient({ url, singleConnection: false, retryAttempts: 0, headers: { authorization: `Bearer ${token}` } });

const all = async (client, query) => {
  const results = [];
  for await (const result of client.iterate({ query })) results.push(result);
  return results;
};

const client = opened('front_desk');
const seen = { query: await all(client, '{ patient(id: "ann") { displayName } }') };
const [forbidden] = await all(client, '{ patient(id: "ann") { religion } }');
seen.forbidden = forbidden.errors.map((error) => error.extensions.code);
seen.followed = await all(client, 'subscription { viewer }');
for await (const result of client.iterate({ query: 'subscription { viewer }' })) {
  seen.left = result;
  break;
}
client.dispose();
try {
  await all(opened('nobody'), '{ __typename }');
} catch (refused) {
  seen.bad = refused.response.status;
}
console.log(JSON.stringify(seen));
