"""A plain PyTorch loop over small text classifiers, as a course book teaches it, in our own words.

Words and signs by a regular expression, a vocabulary of the frequent ones, every text cut or padded to one
length, Adam, and no trick: no mask, no autocast, no order of lengths. As in "Dive into Deep Learning"
(Zhang et al.), sections on sentiment analysis with recurrent and with convolutional networks.
"""

import re
from collections import Counter

import stopwatch
from case import Job

PADDING, UNKNOWN = 0, 1


def words_of(text: str) -> list[str]:
    """Returns words and signs in small letters, which is how hftune cuts a text too."""
    return re.findall(r"\w+|[^\w\s]", re.sub(r"<br\s*/?>", " ", text).lower())


def main(job: Job) -> None:
    """Trains a network from scratch, and reports."""
    import torch
    from datasets import load_dataset
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    class TextCNN(nn.Module):
        def __init__(self, words: int, size: int, widths: list[int], filters: int):
            super().__init__()
            self.embedding = nn.Embedding(words, size)
            self.convolutions = nn.ModuleList(nn.Conv1d(size, filters, width) for width in widths)
            self.pool = nn.AdaptiveMaxPool1d(1)
            self.dropout = nn.Dropout(0.5)
            self.decoder = nn.Linear(filters * len(widths), 2)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            vectors = self.embedding(ids).permute(0, 2, 1)
            pooled = [torch.relu(self.pool(layer(vectors))).squeeze(-1) for layer in self.convolutions]
            return self.decoder(self.dropout(torch.cat(pooled, dim=1)))

    class BiRNN(nn.Module):
        def __init__(self, words: int, size: int, hidden: int, layers: int):
            super().__init__()
            self.embedding = nn.Embedding(words, size)
            self.encoder = nn.LSTM(size, hidden, num_layers=layers, bidirectional=True)
            self.decoder = nn.Linear(4 * hidden, 2)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            self.encoder.flatten_parameters()
            states, _ = self.encoder(self.embedding(ids.T))
            return self.decoder(torch.cat((states[0], states[-1]), dim=1))

    watch = stopwatch.Stopwatch(job)
    torch.manual_seed(job["seed"])
    files = {part: f"{job['folder']}/{part}.parquet" for part in ("train", "test")}
    found = load_dataset("parquet", data_files=files)
    texts = {part: [words_of(text) for text in found[part]["text"]] for part in files}
    counts = Counter(word for text in texts["train"] for word in text).most_common(job["vocabulary"] - 2)
    numbers = {word: number for number, (word, times) in enumerate(counts, start=2) if times > 1}
    length = job["max_length"]

    def tensors(part: str) -> TensorDataset:
        ids = [[numbers.get(word, UNKNOWN) for word in text[:length]] for text in texts[part]]
        padded = torch.tensor([row + [PADDING] * (length - len(row)) for row in ids])
        return TensorDataset(padded, torch.tensor(found[part]["label"]))

    train, test = tensors("train"), tensors("test")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = {"textcnn": TextCNN, "bilstm": BiRNN}[job["network"]]
    net = network(len(numbers) + 2, **job["sizes"]).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=job["learning_rate"])
    loss = nn.CrossEntropyLoss()
    batches = DataLoader(train, job["batch"], shuffle=True)
    watch.mark()
    for _ in range(job["epochs"]):
        net.train()
        for ids, labels in batches:
            optimizer.zero_grad()
            loss(net(ids.to(device)), labels.to(device)).backward()
            optimizer.step()
            watch.mark()
    net.eval()
    with torch.no_grad():
        hits = [
            int((net(ids.to(device)).argmax(1).cpu() == labels).sum())
            for ids, labels in DataLoader(test, job["batch"])
        ]
    watch.report(
        accuracy=sum(hits) / len(test),
        scored=len(test),
        tokens=int((train.tensors[0] != PADDING).sum()),
        places=train.tensors[0].numel(),
    )


if __name__ == "__main__":
    stopwatch.main(main)
