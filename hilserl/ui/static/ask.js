// Requests of a page, one after the other: a late answer would undo what was said since. Refusals show in #notice.

let before = Promise.resolve();

export function ask(path, body) {
  before = before.catch(() => {}).then(() => send(path, body));
  return before;
}

async function send(path, body) {
  const notice = document.getElementById("notice");
  const answer = await fetch(path + location.search, body && { method: "POST", body: JSON.stringify(body) });
  const said = await answer.json();
  notice.hidden = answer.ok;
  notice.textContent = answer.ok ? "" : said.error;
  return answer.ok ? said : null;
}
