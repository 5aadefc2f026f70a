// Apollo Client with persisted queries.
//
// `persisted.mjs manifest` prints what it would send, as Apollo's own tool writes it down for a server.
// `persisted.mjs ask ADDRESS PATIENT TOKEN` asks twice, and in between for what is in no manifest, and prints what its caller
// got and what it sent: [{data, codes, sent: [what each request held]}].
import { createHash } from 'node:crypto';
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from '@apollo/client/core';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { print } from 'graphql';
import { Observable } from 'rxjs';

const card = gql`
  query Card($id: ID!) {
    patient(id: $id) {
      id
      displayName
    }
  }
`;
const unknown = gql`
  query Unknown($id: ID!) {
    patient(id: $id) {
      id
    }
  }
`;

const sha256 = (text) => createHash('sha256').update(text).digest('hex');
const clientOf = (link) => new ApolloClient({ cache: new InMemoryCache(), link });
const [mode, uri, patient, token] = process.argv.slice(2);

if (mode === 'manifest') {
  const operations = [];
  const noting = new ApolloLink(({ query, operationName }) => {
    const body = print(query);
    operations.push({ id: sha256(body), name: operationName, type: 'query', body });
    return new Observable((observer) => observer.complete());
  });
  await clientOf(noting)
    .query({ query: card, variables: { id: 'x' } })
    .catch(() => {});
  console.log(JSON.stringify({ format: 'apollo-persisted-query-manifest', version: 1, operations }));
} else {
  let sent = [];
  const watching = (address, options) => {
    const body = JSON.parse(options.body);
    sent.push([...('query' in body ? ['text'] : []), ...(body.extensions?.persistedQuery ? ['name'] : [])]);
    return fetch(address, options);
  };
  const http = new HttpLink({ uri, headers: { authorization: `Bearer ${token}` }, fetch: watching });
  const client = clientOf(ApolloLink.from([new PersistedQueryLink({ sha256 }), http]));
  const told = [];
  for (const query of [card, unknown, card]) {
    sent = [];
    const asked = { query, variables: { id: patient }, errorPolicy: 'all', fetchPolicy: 'no-cache' };
    const { data, error } = await client.query(asked);
    if (error && !CombinedGraphQLErrors.is(error)) throw error;
    told.push({ data: data ?? null, codes: (error?.errors ?? []).map(({ extensions }) => extensions.code), sent });
  }
  console.log(JSON.stringify(told));
}
