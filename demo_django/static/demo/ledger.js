// Counts what arrived: the agent numbers its tokens, so a lost or a doubled one cannot hide.

export class Ledger {
  constructor(element) {
    this.show = (name, value) => {
      element.querySelector(`[data-count=${name}]`).textContent = value;
    };
    this.received = 0;
    this.last = 0; // tokens up to here have come, or are missing
    this.doubled = 0;
    this.missing = 0;
    this.gaps = 0;
  }

  // Whether the token is new.
  token(index) {
    if (index < this.last) {
      this.show("doubled", ++this.doubled);
      return false;
    }
    this.missing += index - this.last;
    this.last = index + 1;
    this.show("missing", this.missing);
    this.show("received", ++this.received);
    return true;
  }

  gap() {
    this.show("gaps", ++this.gaps);
  }

  connections(count) {
    this.count = count;
    this.show("connections", count);
  }

  verdict(published) {
    const lost = published - this.received;
    const over = `over ${this.count} connection${this.count === 1 ? "" : "s"}`;
    if (lost || this.doubled) {
      return { good: false, text: `${lost} of ${published} tokens lost and ${this.doubled} doubled, ${over}.` };
    }
    return { good: true, text: `All ${published} tokens, in order, each once, ${over}.` };
  }
}
