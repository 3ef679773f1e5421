"""The boosting libraries' own files: XGBoost, LightGBM, CatBoost."""
