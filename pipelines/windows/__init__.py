"""Long and large clips, of which only windows around the damage are held in memory."""
