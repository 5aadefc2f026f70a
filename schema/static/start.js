// Starts GraphiQL with the token of the form above it. The token lives in this tab's memory only: it is not stored.
"use strict";

const form = document.getElementById("token");
const state = document.getElementById("state");
let headers = {};

const firstQuery = `# Paste a token above, then press the button or Ctrl-Enter.
# \`make demo\` prints one for each role.
query Viewer {
  viewer { subject org roles purposeOfUse policyVersion }
}
`;

async function fetcher(parameters) {
  // Without a token the server would only refuse, and record an attempt that nobody made.
  if (!headers.authorization) return { errors: [{ message: "Paste a token into the form above first." }] };
  const answer = await fetch("graphql", {
    method: "POST",
    credentials: "omit",
    headers: { "content-type": "application/json", accept: "application/json", ...headers },
    body: JSON.stringify(parameters),
  });
  return answer.json();
}

// Kept apart from localStorage, where GraphiQL would leave queries and variables behind.
const memory = new Map();
const storage = {
  getItem: (key) => (memory.has(key) ? memory.get(key) : null),
  setItem: (key, value) => memory.set(key, String(value)),
  removeItem: (key) => memory.delete(key),
  clear: () => memory.clear(),
  get length() { return memory.size; },
};

function render() {
  // A new key makes GraphiQL ask for the schema again, now with the token.
  ReactDOM.render(
    React.createElement(GraphiQL, { key: headers.authorization || "none", fetcher, storage, defaultQuery: firstQuery }),
    document.getElementById("graphiql"),
  );
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const token = document.getElementById("bearer").value.trim().replace(/^Bearer\s+/i, "");
  const purpose = document.getElementById("purpose").value.trim();
  headers = {};
  if (token) headers.authorization = `Bearer ${token}`;
  if (purpose) headers["x-purpose-of-use"] = purpose;
  state.textContent = token ? "Token in use in this tab" : "No token yet";
  render();
});

render();
