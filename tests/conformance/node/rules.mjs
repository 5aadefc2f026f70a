// graphql-eslint's recommended and Relay rules for the SDL, and its recommended rules for the documents of the tests.
// A rule is never turned off; where it has a choice, the choice is made here and the reason given.
import { createRequire } from 'node:module';

const graphql = createRequire(import.meta.url)('@graphql-eslint/eslint-plugin'); // one graphql-js for parser and rules

// Values and answers, which nobody fetches again by an id: they are replaced, or asked for, as a whole.
export const WITHOUT_ID = [
  // parts of a record
  'AppointmentPreferences', 'CaseManager', 'ChannelPreference', 'ConsentCapture', 'ConsentGiver', 'ConsentScope',
  'ContactWindow', 'HumanName', 'Identifier', 'IdentifierKind', 'Language', 'Link', 'Period', 'Provenance',
  'OverruledWord', 'Undeliverable', 'Verification',
  'ConfidentialCommunication', // staff learn that there is one, and not which
  // contact decisions, codes and messages
  'ConsideredContact', 'ContactCode', 'ContactCopy', 'ContactDecision', 'ContactExplanation', 'InboundMessage',
  'MessageConfirmation',
  // versions of a record, and pairs of records
  'Comparison', 'DuplicateReview', 'MergeChoice', 'PossibleDuplicate', 'RecordVersion', 'VersionComparison', 'VersionMaker',
  // answers about the log and about erasure
  'AccessActor', 'AccessAnomalies', 'AccessAnomaly', 'AccessSum', 'AccessSummary', 'AccessedField',
  'AccountingOfDisclosures', 'AuditCheckpoint', 'AuditCompleteness', 'AuditConsistencyProof', 'AuditInclusionProof',
  'AppendedAccessEvents', 'Disclosure', 'ErasureReceipt',
  // the caller, and Relay's own
  'PageInfo', 'Viewer',
];

const chosen = {
  // Every part of the SDL is described, not only types and roots.
  '@graphql-eslint/require-description': [
    'error',
    {
      types: true,
      rootField: true,
      DirectiveDefinition: true,
      EnumValueDefinition: true,
      FieldDefinition: true,
      InputValueDefinition: true,
    },
  ],
  '@graphql-eslint/strict-id-in-types': ['error', { exceptions: { types: WITHOUT_ID, suffixes: ['Connection', 'Edge'] } }],
  // Pages are read forwards only: there is no way back from the newest that does not count what is there.
  '@graphql-eslint/relay-arguments': ['error', { includeBoth: false }],
  // Lists with a bound are lists; records are found by `patient(id)`, not by a `node(id)` of every type.
  '@graphql-eslint/relay-edge-types': [
    'error',
    { withEdgeSuffix: true, shouldImplementNode: false, listTypeCanWrapOnlyEdgeType: false },
  ],
};

/** ESLint's configuration for the SDL, and for documents where there are any; paths are relative to the project. */
export default function configuration(sdl, documents) {
  const checked = (files, rules) => ({
    files: [files],
    plugins: { '@graphql-eslint': graphql },
    languageOptions: {
      parser: graphql.parser,
      parserOptions: { graphQLConfig: { schema: sdl, ...(documents && { documents }) } },
    },
    rules,
  });
  return [
    checked(sdl, {
      ...graphql.configs['flat/schema-recommended'].rules,
      ...graphql.configs['flat/schema-relay'].rules,
      ...chosen,
    }),
    ...(documents ? [checked(documents, graphql.configs['flat/operations-recommended'].rules)] : []),
  ];
}
