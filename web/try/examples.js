// Sentences to begin with, written for this page.

export const SETS = {
  films: [
    {
      name: "liked it",
      lines: [
        "I laughed from the first scene to the last.",
        "A tender story, told with great care.",
        "The two leads are a joy to watch.",
        "I left the cinema happier than I came.",
        "Beautiful pictures and a score that stays with you.",
        "Clever, warm and never a minute too long.",
        "The best thing this director has made in years.",
        "My children want to see it again tomorrow.",
      ],
    },
    {
      name: "did not",
      lines: [
        "I looked at my watch after ten minutes.",
        "The jokes are old and the plot is older.",
        "Nobody in this film seems to want to be there.",
        "Loud, empty and far too long.",
        "A waste of a good cast and of my evening.",
        "The ending makes no sense at all.",
        "I have seen better acting in a school play.",
        "Even the popcorn could not save it.",
      ],
    },
  ],
  mail: [
    {
      name: "bill",
      lines: [
        "You have charged my card twice this month.",
        "Where can I find the invoice for March?",
        "The amount on the bill is higher than agreed.",
        "Please send me a receipt for my payment.",
        "Can I pay by bank transfer instead?",
        "I was promised a discount that is not there.",
        "When will the refund be on my account?",
        "Why is there a fee of five euros?",
      ],
    },
    {
      name: "delivery",
      lines: [
        "My parcel should have been here on Monday.",
        "The driver left the box with a stranger.",
        "Can you bring it to another address?",
        "The tracking page has shown the same place for days.",
        "I was at home and nobody rang.",
        "How long does shipping to Norway take?",
        "Only half of my order has arrived.",
        "Please hold the package until I am back.",
      ],
    },
    {
      name: "defect",
      lines: [
        "The screen stays black when I switch it on.",
        "A wheel came off on the second day.",
        "It makes a loud noise and gets very hot.",
        "The zip broke the first time I used it.",
        "The battery is empty after an hour.",
        "One of the cups has a crack.",
        "The app closes whenever I open a picture.",
        "The handle is loose and cannot be tightened.",
      ],
    },
  ],
};
