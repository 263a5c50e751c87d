"""Trains the recipe's model in transformers' Trainer: settings, data, model and metrics are the recipe's."""

from tiles import recipe
from transformers import Trainer, TrainingArguments


def main() -> None:
    """Trains, scores the test tiles and saves the model."""
    settings = recipe.settings
    data = recipe.load_data(settings)
    model = recipe.build_model(settings, data)

    def compute_metrics(answers) -> dict[str, float]:
        rows = data.task.scored({"logits": answers.predictions}, answers.label_ids, recipe.metrics)
        return {name: data.task.metric(name).compute(rows, answers.label_ids) for name in recipe.metrics}

    trainer = Trainer(
        model,
        TrainingArguments(
            "runs/trainer",
            per_device_train_batch_size=settings.per_device_train_batch_size,
            learning_rate=1e-2,  # of AdamW; the recipe's SGD takes a larger one
            num_train_epochs=settings.num_train_epochs,
            save_strategy="no",
            report_to="none",
        ),
        train_dataset=data.train,
        eval_dataset=data.validation,
        data_collator=data.collate,
        compute_metrics=compute_metrics,
    )
    trainer.train()
    print(trainer.evaluate(data.test, metric_key_prefix="test"))
    model.save_pretrained("runs/trainer")
    data.processor.save_pretrained("runs/trainer")


if __name__ == "__main__":
    main()
