// The server audits of `graphql-http` on the endpoint at ADDRESS; prints [{name, status, reason}] as JSON.
import { serverAudits } from 'graphql-http';

const [address] = process.argv.slice(2);

const asOperator = (url, init = {}) =>
  fetch(url, { ...init, headers: { authorization: 'Bearer operator', ...init.headers } });

const results = [];
for (const audit of serverAudits({ url: address, fetchFn: asOperator })) {
  const { status, reason } = await audit.fn();
  results.push({ name: audit.name, status, reason });
}
console.log(JSON.stringify(results));
