// JavaScript clients, each asking the same questions of the service at ADDRESS about PATIENT, with the token of its name
// in TOKENS (JSON). Prints what came back as JSON: {client: {question: {data, codes}}}.
//
// `data` is what the client handed to its caller, `codes` the error codes that its error carries. The documents are those
// of ../documents; every client takes them in the form it likes best.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, HttpLink, InMemoryCache } from '@apollo/client/core';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { Client as UrqlClient, fetchExchange } from '@urql/core';
import { parse, print, separateOperations } from 'graphql';
import { NetworkError, createClient as createHttpClient } from 'graphql-http';
import { ClientError, GraphQLClient } from 'graphql-request';
import { createClient as createSseClient } from 'graphql-sse';
import { createClient as createWsClient } from 'graphql-ws';
import WebSocket from 'ws';

const [address, patient, given] = process.argv.slice(2);
const tokens = JSON.parse(given);

const folder = new URL('../documents/', import.meta.url);
const documents = separateOperations(
  parse(readdirSync(folder).map((name) => readFileSync(new URL(name, folder), 'utf8')).join('\n')),
);
const codesOf = (errors) => (errors ?? []).map(({ extensions }) => extensions?.code);

// --- the clients: each a function from (document, variables, headers) to {data, codes} ---

const isMutation = (document) => document.definitions.some(({ operation }) => operation === 'mutation');

const apolloClient = (sent, ...before) =>
  new ApolloClient({
    cache: new InMemoryCache(),
    link: ApolloLink.from([...before, new HttpLink({ uri: address, headers: sent })]),
  });

async function apollo(document, variables, sent, ...before) {
  const client = apolloClient(sent, ...before);
  const asked = { variables, errorPolicy: 'all', fetchPolicy: 'no-cache' };
  const { data, error } = isMutation(document)
    ? await client.mutate({ mutation: document, ...asked })
    : await client.query({ query: document, ...asked });
  if (error && !CombinedGraphQLErrors.is(error)) throw error;
  return { data: data ?? null, codes: codesOf(error?.errors) };
}

const apolloPersisted = (document, variables, sent) =>
  apollo(
    document,
    variables,
    sent,
    new PersistedQueryLink({ sha256: (text) => createHash('sha256').update(text).digest('hex') }),
  );

async function urql(document, variables, sent) {
  const client = new UrqlClient({
    url: address,
    exchanges: [fetchExchange],
    fetchOptions: { headers: sent },
    preferGetMethod: false,
  });
  const { data, error } = await client[isMutation(document) ? 'mutation' : 'query'](document, variables).toPromise();
  if (error?.networkError) throw error.networkError;
  return { data: data ?? null, codes: codesOf(error?.graphQLErrors) };
}

async function graphqlRequest(document, variables, sent) {
  try {
    return { data: await new GraphQLClient(address, { headers: sent }).request(document, variables), codes: [] };
  } catch (error) {
    if (!(error instanceof ClientError)) throw error;
    return { data: error.response.data ?? null, codes: codesOf(error.response.errors) };
  }
}

// The last three have one interface: an answer, or an error that carries the response or the end of the socket.

const answerOf = (client, document, variables) =>
  new Promise((resolve, reject) => {
    let answer;
    client.subscribe(
      { query: print(document), variables },
      {
        next: ({ data, errors }) => (answer = { data: data ?? null, codes: codesOf(errors) }),
        error: (error) => (Array.isArray(error) ? resolve({ data: null, codes: codesOf(error) }) : reject(error)),
        complete: () => resolve(answer),
      },
    );
  });

const byResponse = (client) => async (document, variables, sent) => {
  try {
    return await answerOf(client(sent), document, variables);
  } catch (error) {
    if (!error.response) throw error;
    return { data: null, codes: codesOf((await error.response.json()).errors) };
  }
};

const graphqlHttp = byResponse((sent) => createHttpClient({ url: address, headers: sent }));
const graphqlSse = byResponse((sent) => createSseClient({ url: address, headers: sent, retryAttempts: 0 }));

async function graphqlWs(document, variables, sent) {
  const client = createWsClient({
    url: address.replace('http', 'ws'),
    webSocketImpl: WebSocket,
    connectionParams: sent,
    retryAttempts: 0,
  });
  try {
    return await answerOf(client, document, variables);
  } catch (error) {
    if (error.code !== 4403) throw error;
    return { data: null, codes: [error.reason.replace('Forbidden: ', '')] };
  } finally {
    await client.dispose();
  }
}

const clients = { apollo, apolloPersisted, urql, graphqlRequest, graphqlHttp, graphqlSse, graphqlWs };

// --- the questions ---

const card = { id: patient, withContact: true };
const unknown = '0199c0de-0000-7000-8000-000000000001';
const change = (version, preferredName) => ({ input: { patientId: patient, expectedVersion: version, preferredName } });

const results = {};
for (const [name, ask] of Object.entries(clients)) {
  const told = {};
  const headers = { authorization: `Bearer ${tokens[name]}` };
  const note = async (question, operation, variables, sent = headers) => {
    try {
      told[question] = await ask(documents[operation], variables, sent);
    } catch (error) {
      told[question] = { failed: `${error.name}: ${error.message}` };
    }
    return told[question];
  };
  const first = await note('card', 'PatientCard', card);
  await note('short card', 'PatientCard', { ...card, withContact: false });
  await note('batch', 'PatientsByIds', { ids: [patient, unknown] });
  await note('search', 'PatientsFound', { by: { phone: '+447700900123' }, first: 1 });
  const version = first.data?.patient.version;
  await note('change', 'UpdatePreferences', change(version, name));
  await note('stale change', 'UpdatePreferences', change(version, 'Nobody'));
  await note('unknown', 'PatientCard', { ...card, id: unknown });
  await note('forbidden', 'Belief', { id: patient });
  await note('wrong variables', 'PatientCard', { id: patient });
  await note('nobody', 'Caller', {}, {});
  results[name] = told;
}

// --- Apollo's cache: what a mutation answers is seen by whoever asked before, without another request ---

const client = apolloClient({ authorization: `Bearer ${tokens.apollo}` });
const asked = { query: documents.PatientCard, variables: card };
const { data: before } = await client.query(asked);
await client.mutate({
  mutation: documents.UpdatePreferences,
  variables: change(before.patient.version, 'Cached'),
});
const { data: after } = await client.query({ ...asked, fetchPolicy: 'cache-only' });
results.cache = { before: before.patient.version, after: after.patient.version };

console.log(JSON.stringify(results));
