"""A reranker behind HTTP, with Flask: POST /rerank with a query and documents, get them in order.

python examples/serve_flask.py --model my-reranker
curl -X POST localhost:5000/rerank -H 'Content-Type: application/json' \
     -d '{"query": "how to mend a tyre", "documents": ["find the hole", "oil the chain"]}'

Flask comes with ``pip install flask``; its own server is for trying things out only.
"""

from __future__ import annotations

from flask import Flask, jsonify, request
from shared import arguments

from rankwright import CrossEncoder


def create_app(model_path):
    """The application; the model is loaded once and shared by all requests."""
    app = Flask(__name__)
    model = CrossEncoder(model_path, num_labels=1)

    @app.route("/rerank", methods=["POST"])
    def rerank_api():
        """{"query": ..., "documents": [...]} to {"ranked_documents": [{"document", "score"}]}."""
        data = request.get_json(silent=True) or {}
        query = data.get("query", "")
        documents = data.get("documents", [])
        if not query or not documents:
            return jsonify({"error": "query and documents must not be empty"}), 400
        ranked_docs = model.rank(query, documents, return_documents=True)
        result = {
            "ranked_documents": [
                {"document": hit["text"], "score": float(hit["score"])} for hit in ranked_docs
            ]
        }
        return jsonify(result)

    return app


if __name__ == "__main__":
    args = arguments(__doc__)
    create_app(args.model).run(host="127.0.0.1", port=5000)
