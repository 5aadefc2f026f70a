// Apollo Client and urql, over graphql-ws, subscribe to the query in JSON at process.argv[2] and print what each heard.
//
// JSON: `url`, `token`, `query`, `variables`, `last` (how many answers to hear).
import { ApolloClient, InMemoryCache, gql } from '@apollo/client/core';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { Client as UrqlClient, subscriptionExchange } from '@urql/core';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const { url, token, query, variables, last } = JSON.parse(process.argv[2]);
const opened = () =>
  createClient({ url, webSocketImpl: WebSocket, connectionParams: { authorization: `Bearer ${token}` } });

const heard = (subscribe) =>
  new Promise((resolve, reject) => {
    const found = [];
    const subscription = subscribe((data) => {
      found.push(data);
      if (found.length < last) return;
      subscription.unsubscribe();
      resolve(found);
    }, reject);
  });

async function apollo() {
  const socket = opened();
  const client = new ApolloClient({ cache: new InMemoryCache(), link: new GraphQLWsLink(socket) });
  const told = await heard((next, error) =>
    client
      .subscribe({ query: gql(query), variables, fetchPolicy: 'no-cache' })
      .subscribe({ next: (result) => (result.error ? error(result.error) : next(result.data)), error }),
  );
  await socket.dispose();
  return told;
}

async function urql() {
  const socket = opened();
  const forwardSubscription = (request) => ({
    subscribe: (sink) => ({ unsubscribe: socket.subscribe({ ...request, query: request.query ?? '' }, sink) }),
  });
  const client = new UrqlClient({ url, exchanges: [subscriptionExchange({ forwardSubscription })] });
  const told = await heard((next, failed) =>
    client.subscription(query, variables).subscribe(({ data, error }) => (error ? failed(error) : next(data))),
  );
  await socket.dispose();
  return told;
}

const plain = (told) => told.map((data) => JSON.parse(JSON.stringify(data, (key, value) => (key === '__typename' ? undefined : value))));
console.log(JSON.stringify({ apollo: plain(await apollo()), urql: plain(await urql()) }));
