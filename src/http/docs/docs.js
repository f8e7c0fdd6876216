// Shows /api/openapi.json: every operation with its parameters, bodies and answers. All text is set
// as text, never as markup.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
const DEPTH_MAX = 6;

const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};

/** A schema as an example-like outline. */
const outline = (schema, all, depth = 0) => {
  if (!schema || depth > DEPTH_MAX) return "…";
  if (schema.$ref) return outline(all[schema.$ref.split("/").pop()], all, depth);
  const choice = schema.oneOf || schema.anyOf;
  if (choice) {
    const real = choice.filter((one) => one.type !== "null");
    return real.length === 1 ? outline(real[0], all, depth) : real.map((one) => outline(one, all, depth + 1));
  }
  if (schema.allOf) return Object.assign({}, ...schema.allOf.map((one) => outline(one, all, depth)));
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.properties) {
    return Object.fromEntries(
      Object.entries(schema.properties).map(([key, value]) => [key, outline(value, all, depth + 1)]),
    );
  }
  if (schema.items) return [outline(schema.items, all, depth + 1)];
  return [].concat(schema.type || "any").join(" | ");
};

const body = (content, all) => {
  const pieces = [];
  for (const [kind, { schema }] of Object.entries(content || {})) {
    pieces.push(element("div", kind, "words"));
    if (schema) pieces.push(element("pre", JSON.stringify(outline(schema, all), null, 2)));
  }
  return pieces;
};

const parameters = (list) => {
  const table = element("table");
  for (const { name, in: place, required, description, schema } of list) {
    const row = element("tr");
    const type = [].concat((schema && schema.type) || "").join(" | ");
    row.append(element("td", name), element("td", `${place}${required ? ", needed" : ""}`, "words"));
    row.append(element("td", type, "words"), element("td", description || ""));
    table.append(row);
  }
  return table;
};

const operation = (path, method, told, all) => {
  const details = element("details");
  const summary = element("summary");
  summary.append(element("span", method.toUpperCase(), "method"), element("code", path), " ");
  summary.append(element("span", told.summary || "", "words"));
  details.append(summary);
  details.dataset.words = `${method} ${path} ${told.summary || ""} ${(told.tags || []).join(" ")}`.toLowerCase();
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    if (told.description) details.append(element("p", told.description));
    if (told.parameters) details.append(parameters(told.parameters));
    if (told.requestBody) details.append(element("h3", "Body"), ...body(told.requestBody.content, all));
    for (const [status, answer] of Object.entries(told.responses || {})) {
      details.append(element("h3", `${status} ${answer.description || ""}`));
      if (status < "400") details.append(...body(answer.content, all));
    }
  });
  return details;
};

const show = (told) => {
  const all = (told.components && told.components.schemas) || {};
  document.getElementById("about").textContent = `${told.info.description} Version ${told.info.version}.`;
  const groups = new Map();
  for (const [path, item] of Object.entries(told.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = (item[method].tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(path, method, item[method], all));
    }
  }
  const main = document.getElementById("operations");
  for (const tag of [...groups.keys()].sort()) {
    const section = element("section");
    section.append(element("h2", tag), ...groups.get(tag));
    main.append(section);
  }
  document.getElementById("filter").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/);
    for (const details of main.querySelectorAll("details")) {
      details.hidden = !words.every((word) => details.dataset.words.includes(word));
    }
    for (const section of main.querySelectorAll("section")) {
      section.hidden = !section.querySelector("details:not([hidden])");
    }
  });
};

fetch("/api/openapi.json", { credentials: "same-origin" })
  .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`the gateway answered ${answer.status}`))))
  .then(show)
  .catch((error) => {
    document.getElementById("about").textContent = `The document could not be read: ${error.message}`;
  });
