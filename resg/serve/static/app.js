// The page of `resg serve`: it asks this server alone, and builds no HTML from text.

const part = (id) => document.getElementById(id);
const details = part("details");
let query = { text: "" }; // of the shown hits: a text, or a picture where it is empty
let latest = 0; // number of the last request, so that late answers are dropped
let shown = null; // id of the picture in the dialog

async function ask(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error("The server does not answer. Is resg serve still running?");
  }
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.error ?? `The server answered ${answer.status}.`);
  return told;
}

async function search(address, options, asked, described) {
  const own = ++latest;
  part("status").textContent = "Searching...";
  part("error").textContent = "";
  try {
    const told = await ask(address, options);
    if (own !== latest) return;
    query = asked;
    showHits(told.hits);
    part("status").textContent =
      `${told.hits.length} pictures for ${described}, the best first. ${told.notice}`;
  } catch (error) {
    if (own !== latest) return;
    showHits([]);
    part("status").textContent = "";
    part("error").textContent = error.message;
  }
}

const pictureAddress = (id, side) => `picture?${new URLSearchParams({ id, side })}`;

function showHits(hits) {
  part("hits").replaceChildren(...hits.map((hit) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    const picture = document.createElement("img");
    const told = document.createElement("span");
    picture.src = pictureAddress(hit.id, 320);
    picture.alt = hit.id;
    picture.loading = "lazy";
    told.className = "told";
    told.textContent = `${hit.rank}. score ${hit.score.toFixed(3)}`;
    button.type = "button";
    button.append(picture, told);
    button.addEventListener("click", () => openDetails(hit));
    item.append(button);
    return item;
  }));
}

function showQueryPicture(file) {
  const picture = part("query-picture");
  if (picture.src) URL.revokeObjectURL(picture.src);
  picture.hidden = file === null;
  if (file === null) picture.removeAttribute("src");
  else picture.src = URL.createObjectURL(file);
}

function searchText(text) {
  showQueryPicture(null);
  search(`api/search?${new URLSearchParams({ text })}`, {}, { text }, `“${text}”`);
}

function searchPicture(file) {
  showQueryPicture(file);
  part("text").value = "";
  search("api/search", { method: "POST", body: file }, { text: "" }, file.name);
}

function searchSimilar(id) {
  showQueryPicture(null);
  part("text").value = "";
  search(`api/similar?${new URLSearchParams({ id })}`, {}, { text: "" }, `pictures like ${id}`);
}

function openDetails(hit) {
  shown = hit.id;
  const frame = part("explanation");
  const picture = part("details-picture");
  part("details-name").textContent = hit.id;
  const isText = query.text !== "";
  frame.hidden = true;
  picture.hidden = isText;
  if (isText) {
    part("details-status").textContent = "Finding out why this picture was found...";
    frame.src = `explanation?${new URLSearchParams({ id: hit.id, text: query.text })}`;
  } else {
    part("details-status").textContent = "";
    picture.src = pictureAddress(hit.id, 1600);
    picture.alt = hit.id;
  }
  details.showModal();
}

part("explanation").addEventListener("load", () => {
  const frame = part("explanation");
  const page = frame.contentDocument;
  if (!page || page.URL === "about:blank") return;
  const isPage = page.contentType === "text/html";
  frame.hidden = !isPage;
  part("details-status").textContent = isPage ? "" : errorIn(page.body.textContent);
});

function errorIn(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return "It cannot be explained.";
  }
}

details.addEventListener("close", () => {
  part("explanation").src = "about:blank";
  part("details-picture").removeAttribute("src");
});
part("close").addEventListener("click", () => details.close());
part("similar").addEventListener("click", () => {
  details.close();
  searchSimilar(shown);
});
part("search").addEventListener("submit", (event) => {
  event.preventDefault();
  searchText(part("text").value.trim());
});
part("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) searchPicture(file);
});

for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    part("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
  });
}
document.addEventListener("drop", (event) => {
  const [file] = event.dataTransfer.files;
  if (file) searchPicture(file);
});

try {
  const about = await ask("api/index");
  part("name").textContent = `${about.images.toLocaleString("en")} pictures of ${about.name}`;
  document.title = `Search ${about.name}`;
} catch (error) {
  part("error").textContent = error.message;
}
