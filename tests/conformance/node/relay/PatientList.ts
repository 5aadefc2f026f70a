// What a page of a Relay application holds: a query, a list that loads more, a mutation that updates the store.
import { graphql } from 'relay-runtime';

export const query = graphql`
  query PatientListQuery($by: PatientSearch!, $first: Int!, $after: String) {
    viewer {
      purposeOfUse
    }
    ...PatientList_found
  }
`;

export const found = graphql`
  fragment PatientList_found on Query @refetchable(queryName: "PatientListMoreQuery") {
    searchPatients(by: $by, first: $first, after: $after) @connection(key: "PatientList_searchPatients") {
      edges {
        node {
          id
          ...PatientList_row
        }
      }
    }
  }
`;

export const row = graphql`
  fragment PatientList_row on Patient {
    displayName
    birthDate
    updatedAt
    interpreterNeeded
    contactPoints {
      id
      value
    }
  }
`;

export const batch = graphql`
  query PatientListBatchQuery($ids: [ID!]!) {
    patients(ids: $ids) {
      ... on Patient {
        ...PatientList_row @alias(as: "row")
      }
      ... on Refusal {
        id
        code
      }
    }
  }
`;

export const rename = graphql`
  mutation PatientListRenameMutation($input: UpdatePreferencesInput!) {
    updatePreferences(input: $input) {
      id
      version
      displayName
    }
  }
`;
