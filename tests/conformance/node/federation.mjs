// Heed and a second subgraph as one supergraph: composed by Apollo's library, planned by Apollo's planner, and executed
// here as a router does. Arguments: Heed's ADDRESS, operations as a JSON list of {query, variables, role}, and the SDL of
// another subgraph that has to compose with Heed. Prints {hints, answers, sent}: `sent` are the requests that went to Heed.
import { composeServices } from '@apollo/composition';
import { operationFromDocument, Supergraph } from '@apollo/federation-internals';
import { prettyFormatQueryPlan, QueryPlanner } from '@apollo/query-planner';
import { buildSchema, graphql, parse } from 'graphql';

const [address, operations, example] = process.argv.slice(2);

// A practice's diary. It knows a patient's id, and adds a field to Heed's patients.
const DIARY = `
  type Query { appointments: [Appointment!]! }
  type Appointment @key(fields: "id") { id: ID! at: String! patient: Patient }
  type Patient @key(fields: "id") { id: ID! room: String }
  type PageInfo @shareable { endCursor: String hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String }
`;
const LINK = 'extend schema @link(url: "https://specs.apollo.dev/federation/v2.3", import: ["@key", "@shareable"])';
const MACHINERY = `
  directive @key(fields: String!) on OBJECT
  directive @shareable on OBJECT
  scalar _Any
  union _Entity = Patient | Appointment
  extend type Query { _entities(representations: [_Any!]!): [_Entity]! }
`;
const appointment = (at, id) => ({ id: `at-${at}`, at, patient: { __typename: 'Patient', id, room: `room of ${id}` } });
const diary = {
  appointments: [appointment('09:00', 'ann'), appointment('09:30', 'nobody'), appointment('10:00', 'ann')],
  _entities: ({ representations }) => representations.map((each) => ({ ...each, room: `room of ${each.id}` })),
};
const diarySchema = buildSchema(DIARY + MACHINERY);

const sent = [];
async function ask(query, variables, role) {
  // Composing takes longer than a server keeps an idle connection, and nobody would notice here that it was closed.
  const headers = { authorization: `Bearer ${role}`, 'content-type': 'application/json', connection: 'close' };
  const response = await fetch(address, { method: 'POST', headers, body: JSON.stringify({ query, variables }) });
  return response.json();
}
const subgraphs = {
  heed: (query, variables, role) => (sent.push({ query, variables }), ask(query, variables, role)),
  diary: (source, variableValues) => graphql({ schema: diarySchema, source, rootValue: diary, variableValues }),
};

// The objects at a path of a plan, such as ['appointments', '@', 'patient'].
const at = (objects, path) =>
  path.reduce((found, step) => found.flatMap((each) => (step === '@' ? each : (each?.[step] ?? []))), [objects].flat());

// What a selection of a fetch's `requires` takes of an object: an entity's type and key.
function representation(object, requires) {
  const fragment = requires.find((each) => each.kind === 'InlineFragment' && each.typeCondition === object.__typename);
  return Object.fromEntries(fragment.selections.map(({ name }) => [name, object[name]]));
}

async function execute(node, objects, asked, errors) {
  if (node.kind === 'Sequence' || node.kind === 'Parallel') {
    for (const each of node.nodes) await execute(each, objects, asked, errors);
  } else if (node.kind === 'Flatten') {
    await execute(node.node, at(objects, node.path), asked, errors);
  } else if (node.kind === 'Fetch') {
    const variables = Object.fromEntries((node.variableUsages ?? []).map((name) => [name, asked.variables?.[name]]));
    if (node.requires) variables.representations = objects.map((each) => representation(each, node.requires));
    const answer = await subgraphs[node.serviceName](node.operation, variables, asked.role);
    errors.push(...(answer.errors ?? []));
    if (!node.requires) Object.assign(objects[0], answer.data);
    else answer.data?._entities.forEach((found, place) => Object.assign(objects[place], found));
  } else {
    throw new Error(`no such node: ${node.kind}`);
  }
}

const { data } = await ask('{ _service { sdl } }', {}, 'operator');
function compose(sdl) {
  const composed = composeServices([
    { name: 'heed', url: address, typeDefs: parse(data._service.sdl) },
    { name: 'diary', url: 'http://diary.test', typeDefs: parse(sdl) },
  ]);
  if (composed.errors) throw new Error(composed.errors.join('\n'));
  return composed;
}
const composed = compose(LINK + DIARY);
const hints = [...composed.hints, ...compose(example).hints].map(({ message }) => message);
const supergraph = Supergraph.build(composed.supergraphSdl);
const planner = new QueryPlanner(supergraph);
const answers = [];
for (const asked of JSON.parse(operations)) {
  const plan = planner.buildQueryPlan(operationFromDocument(supergraph.apiSchema(), parse(asked.query)));
  const [result, errors] = [{}, []];
  await execute(plan.node, [result], asked, errors);
  answers.push({ data: result, errors, plan: prettyFormatQueryPlan(plan) });
}
console.log(JSON.stringify({ hints, answers, sent }));
