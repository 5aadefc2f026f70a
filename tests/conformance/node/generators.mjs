// What generators and checkers make of the schema: of the SDL, a file, and of what the endpoint at ADDRESS says of itself
// to TOKEN. Writes into FOLDER, and prints as JSON what came of it.
import { execFile } from 'node:child_process';
import { cpSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { generate } from '@graphql-codegen/cli';
import { diff, validate } from '@graphql-inspector/core';
import { Source, buildClientSchema, buildSchema, getIntrospectionQuery, printSchema } from 'graphql';

const [address, token, sdl, folder] = process.argv.slice(2);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const headers = { authorization: `Bearer ${token}` };
const documents = readdirSync(here('../documents')).map((name) => here(`../documents/${name}`));

// --- graphql-js and graphql-inspector: the endpoint says the same as the file, and both fit the documents ---

const response = await fetch(address, {
  method: 'POST',
  headers: { ...headers, 'content-type': 'application/json' },
  body: JSON.stringify({ query: getIntrospectionQuery({ specifiedByUrl: true, inputValueDeprecation: true }) }),
});
const served = buildSchema(printSchema(buildClientSchema((await response.json()).data))); // with directives, as in the file
const written = buildSchema(readFileSync(sdl, 'utf8'));
const changes = await diff(written, served);
const unfit = validate(
  served,
  documents.map((path) => new Source(readFileSync(path, 'utf8'), path)),
);

// --- graphql-codegen: types of the schema and of the documents, from the endpoint ---

// Custom scalars are texts, but for the numbers of the log, which are beyond 32 bits.
const [types] = await generate(
  {
    cwd: folder,
    silent: true,
    schema: { [address]: { headers } },
    documents,
    generates: {
      'types.ts': {
        plugins: ['typescript', 'typescript-operations'],
        config: { enumsAsTypes: true, defaultScalarType: 'string', scalars: { LogIndex: 'number' } },
      },
    },
  },
  false,
);

// --- relay-compiler: artifacts, and the texts of the operations as Relay sends them ---

cpSync(here('relay'), join(folder, 'src'), { recursive: true });
cpSync(sdl, join(folder, 'schema.graphql'));
writeFileSync(
  join(folder, 'relay.config.json'),
  JSON.stringify({
    src: 'src',
    schema: 'schema.graphql',
    language: 'typescript',
    eagerEsModules: true,
    persistConfig: { file: 'persisted.json', algorithm: 'SHA256' },
  }),
);
writeFileSync(join(folder, 'persisted.json'), '{}');
await promisify(execFile)(process.execPath, [here('node_modules/relay-compiler/cli.js'), 'relay.config.json'], {
  cwd: folder,
});

console.log(
  JSON.stringify({
    changes: changes.map(({ type, path }) => [type, path]),
    unfit: unfit.map(({ errors }) => errors.map(({ message }) => message)),
    types: types.content,
    artifacts: readdirSync(join(folder, 'src', '__generated__')).sort(),
    persisted: JSON.parse(readFileSync(join(folder, 'persisted.json'), 'utf8')),
  }),
);
