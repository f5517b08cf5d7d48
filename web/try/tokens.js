// WordPiece, as the model's own tokenizer does it: a text becomes pieces of a fixed vocabulary.

export const MOST = 128; // pieces that the model reads, [CLS] and [SEP] among them
const LONGEST = 100; // code points of a word; a longer one is [UNK]

const SPECIAL = /(\[(?:PAD|UNK|CLS|SEP|MASK)\])/;
const BLANK = /^\p{White_Space}$/u;
const LINE = /^[\t\n\r]$/; // the only controls that are blanks: others are dropped
const OTHER = /^[\p{Cc}\p{Cf}\p{Co}\p{Cs}\uFFFD]$/u;
const ACCENT = /\p{Mn}/gu;
const ASCII_SIGN = /^[!-/:-@[-`{-~]$/;
const SIGN = /^\p{P}$/u;
const CHINESE = [ // blocks of characters that are words by themselves
  [0x4e00, 0x9fff], [0x3400, 0x4dbf], [0x20000, 0x2a6df], [0x2a700, 0x2b73f],
  [0x2b740, 0x2b81f], [0x2b920, 0x2ceaf], [0xf900, 0xfaff], [0x2f800, 0x2fa1f],
];

const isChinese = (sign) => {
  const code = sign.codePointAt(0);
  return CHINESE.some(([first, last]) => first <= code && code <= last);
};
const isSign = (sign) => ASCII_SIGN.test(sign) || SIGN.test(sign);

// What cannot be seen is dropped; every kind of blank becomes a space; Chinese stands apart.
function clean(text) {
  let kept = "";
  for (const sign of text) {
    if (OTHER.test(sign) && !LINE.test(sign)) continue;
    if (BLANK.test(sign)) kept += " ";
    else kept += isChinese(sign) ? ` ${sign} ` : sign;
  }
  return kept;
}

// Lower case without accents. Each sign by itself: a final sigma is a sigma like the others.
export function normal(text) {
  const bare = clean(text).normalize("NFD").replace(ACCENT, "");
  return Array.from(bare, (sign) => sign.toLowerCase()).join("");
}

// Words between blanks; a punctuation mark is a word of its own.
export function words(text) {
  const found = [];
  let word = "";
  const end = () => {
    if (word) found.push(word);
    word = "";
  };
  for (const sign of normal(text)) {
    if (BLANK.test(sign)) end();
    else if (isSign(sign)) {
      end();
      found.push(sign);
    } else word += sign;
  }
  end();
  return found;
}

// The longest piece that the vocabulary has, then the longest of the rest, and so on.
function pieces(word, vocabulary) {
  const signs = Array.from(word);
  if (signs.length > LONGEST) return ["[UNK]"];
  const found = [];
  for (let start = 0; start < signs.length;) {
    let end = signs.length;
    let piece = "";
    for (; end > start; end--) {
      piece = (start ? "##" : "") + signs.slice(start, end).join("");
      if (vocabulary.has(piece)) break;
    }
    if (end === start) return ["[UNK]"];
    found.push(piece);
    start = end;
  }
  return found;
}

// Lines of a file, in the order of their numbers -> piece to number.
export function vocabularyOf(lines) {
  return new Map(lines.trimEnd().split("\n").map((piece, id) => [piece, id]));
}

// { pieces, ids, cut }: what the model reads, and whether something was left out at the end.
export function tokenize(text, vocabulary, most = MOST) {
  const all = text.split(SPECIAL).flatMap((part, i) =>
    i % 2 ? [part] : words(part).flatMap((word) => pieces(word, vocabulary)));
  const read = ["[CLS]", ...all.slice(0, most - 2), "[SEP]"];
  const ids = read.map((piece) => vocabulary.get(piece));
  return { pieces: read, ids, cut: all.length > most - 2 };
}
